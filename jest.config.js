/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  // Random runs hunt for what no test names yet: `npm run chaos`. They are not part of `npm test`.
  testPathIgnorePatterns: ['/node_modules/', ...(process.env.CHAOS_SEEDS ? [] : ['workflow-chaos'])],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
        module: { type: 'commonjs' },
        sourceMaps: 'inline',
      },
    ],
  },
  testTimeout: 60_000,
};
