/** docs/extending.md names files: they are there, and whatever is in a list has the files that adding it takes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { STATISTICS } from '../calibrate/list.ts';
import { ARCHITECTURES } from '../converters/index.ts';
import { commandsIn, lacuna, root } from './temporary.ts';
import { VARIANT_FOLDERS } from './variants.ts';

const text = readFileSync(join(root, 'docs/extending.md'), 'utf8');
const PATH =
  /\b(?:src|converters|calibrate|fixtures|fuzz|native|test|bench)\/(?:[\w./-]|<[\w ]+>)+\.(?:ts|py|txtar|md|cc|h)\b/g;
const named = [...new Set(text.match(PATH))];

/** Whether a file is of that path, where `<name>` may be any. */
function isThere(path: string): boolean {
  if (!path.includes('<')) return existsSync(join(root, path));
  const folder = dirname(path);
  const pattern = new RegExp(`^${path.slice(folder.length + 1).replace(/<[^>]+>/g, '[\\w-]+')}$`);
  return readdirSync(join(root, folder)).some((name) => pattern.test(name));
}

describe('what is said of adding to Lacuna', () => {
  it('names many files', () => {
    expect(named.length).toBeGreaterThan(30);
    expect(named).toEqual(
      expect.arrayContaining(['converters/<name>.ts', 'calibrate/list.ts', 'src/pipeline/options.ts']),
    );
  });

  it.each(named)('names %s, which is there', (path) => {
    expect(isThere(path)).toBe(true);
  });
});

it.each(ARCHITECTURES.map(({ modelType }) => modelType))('%s has an archive of variants by its name', (modelType) => {
  const archives = VARIANT_FOLDERS.map((folder) => join(root, 'fixtures', folder, `${modelType}.txtar`));
  expect(archives.filter((path) => existsSync(path))).toHaveLength(1);
});

it.each(STATISTICS.map(({ name }) => name))('the statistic %s has a file and a test by its name', (name) => {
  for (const file of [`${name}.ts`, `${name}.test.ts`]) expect(existsSync(join(root, 'calibrate', file))).toBe(true);
});

it('every command has a file by its name', async () => {
  const names = commandsIn((await lacuna(['--help'])).stdout).filter((name) => name !== 'help');
  expect(names.length).toBeGreaterThan(10);
  for (const name of names) expect(existsSync(join(root, 'src/cli', `${name}.ts`)), name).toBe(true);
});
