/** The contents of a folder, for comparing one run with another. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';

/** sha256 of every file by its path. Files with measured times only need to exist. */
export function hashTree(folder: string): ReadonlyMap<string, string> {
  const hash = (path: string) => {
    const content = withoutTimes(basename(path), readFileSync(path));
    return createHash('sha256').update(content).digest('hex');
  };
  return new Map(filesIn(folder).map((path) => [relative(folder, path), hash(path)]));
}

/** The paths of all files in a folder and its folders, in order. */
export function filesIn(folder: string): readonly string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return entries.map((entry) => join(entry.parentPath, entry.name)).sort();
}

/**
 * A model card has two sentences with measured times, the record of a search has its benches, and the manifest has the checksums of
 * both.
 */
function withoutTimes(name: string, bytes: Buffer): Buffer | string {
  if (name === 'bench.json' || name === 'report.html') return 'times';
  if (name === 'README.md')
    return bytes
      .toString()
      .replace(/^Decoding[,:] .*$/m, '')
      .replace(/, a step's time .* off\.$/m, '');
  if (name === 'auto.json') return JSON.stringify({ ...JSON.parse(bytes.toString()), bench: null, benchUniform: null });
  if (name !== 'lacuna.json') return bytes;
  const manifest = JSON.parse(bytes.toString()) as { files: { path: string }[] };
  const files = manifest.files.filter(({ path }) => !/^README\.md$|(?:^|\/)(?:bench|auto)\.json$/.test(path));
  return JSON.stringify({ ...manifest, files });
}

/** The first difference between two trees, or undefined. */
export function differenceOf(
  wanted: ReadonlyMap<string, string>,
  got: ReadonlyMap<string, string>,
): string | undefined {
  for (const name of new Set([...wanted.keys(), ...got.keys()])) {
    if (!got.has(name)) return `${name} is missing`;
    if (!wanted.has(name)) return `${name} was left`;
    if (wanted.get(name) !== got.get(name)) return `${name} has other bytes`;
  }
  return undefined;
}
