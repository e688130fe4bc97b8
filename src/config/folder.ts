import { accessSync, constants, statSync } from 'node:fs';

/** Why a folder of input files is no use, as the end of "names PATH, …"; undefined: it can be read. */
export function folderProblem(path: string): string | undefined {
  try {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return 'which is not a folder here';
    accessSync(path, constants.X_OK);
    return undefined;
  } catch (error) {
    return `which cannot be searched (${(error as NodeJS.ErrnoException).code})`;
  }
}
