// The tests that a source file can fail: those that import it, directly or through other files.
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

const IMPORT = /(?:from|import)\s*\(?'(\.[^']+)'/g;
// Tests through the door run whole pipelines; others convert many models or need Python or the native core. If only
// they notice a change, no test of the part itself does.
const DOOR = 'src/index.ts';
const ELSEWHERE = /^converters\/|^test\/(real|consumers|native|door|gemma)\b/;

/** A function from a source file to its tests, the closest first. `files` are paths relative to `root`. */
export function testsOf(root, files) {
  const importers = new Map(files.map((file) => [file, []]));
  for (const file of files)
    for (const [, path] of readFileSync(join(root, file), 'utf8').matchAll(IMPORT))
      importers.get(normalize(join(dirname(file), path)).replaceAll('\\', '/'))?.push(file);
  return (source) => {
    const met = new Set([source]);
    for (const file of met) if (file !== DOOR) for (const importer of importers.get(file)) met.add(importer);
    return [...met].filter((file) => file.endsWith('.test.ts') && !ELSEWHERE.test(file));
  };
}
