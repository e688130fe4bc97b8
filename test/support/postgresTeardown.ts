export { teardown as default } from './postgresSetup';
