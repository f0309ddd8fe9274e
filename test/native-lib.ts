/** The native core that the command line uses in this clone. */
import { dirname, join } from 'node:path';
import { ADDON_NAME, nativePath } from '../src/pipeline/engine/native-library.ts';

export const nativeLib = dirname(join(nativePath(), ADDON_NAME));
