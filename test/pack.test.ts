/** What `npm run pack:all` refuses to pack: libraries for another machine, or for a newer one than users may have. */
import { copyFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { root, temporaryFolder } from './temporary.ts';

interface Target {
  readonly name: string;
}

interface Targets {
  readonly TARGETS: readonly Target[];
  readonly LIBRARIES: readonly string[];
  readonly NOTES: Readonly<Record<string, string>>;
}

const scripts = (name: string) => import(pathToFileURL(join(root, 'scripts', name)).href);
const { problemsOf }: { problemsOf: (target: Target, folder: string) => string[] } =
  await scripts('native-problems.js');
const { TARGETS, LIBRARIES, NOTES }: Targets = await scripts('native-targets.js');

const parent = temporaryFolder();
const here = `linux-${process.arch}`;
const targetNamed = (wanted: (name: string) => boolean) => {
  const found = TARGETS.find(({ name }) => wanted(name));
  if (found === undefined) throw new Error('there is no such target');
  return found;
};

/** A folder with all files of a build, each made by `make`. */
function buildOf(make: (file: string) => void): string {
  const folder = mkdtempSync(join(parent, 'lib-'));
  for (const name of LIBRARIES) make(join(folder, name));
  for (const name of Object.values(NOTES)) writeFileSync(join(folder, name), '');
  return folder;
}

describe.runIf(process.platform === 'linux')('a build that is packed', () => {
  // Node itself is a file of this machine that needs more than our libraries may.
  const ofNode = buildOf((file) => copyFileSync(process.execPath, file));

  it('is whole', () => {
    const folder = mkdtempSync(join(parent, 'empty-'));
    const all = [...LIBRARIES, ...Object.values(NOTES)];
    expect(problemsOf(TARGETS[0], folder)).toEqual(all.map((name) => `${join(folder, name)} is missing`));
    const more = buildOf((file) => copyFileSync(process.execPath, file));
    writeFileSync(join(more, 'libgtest.a'), '');
    expect(problemsOf(TARGETS[0], more)[0]).toBe(`${join(more, 'libgtest.a')} does not belong there`);
    const text = buildOf((file) => writeFileSync(file, 'text'));
    expect(problemsOf(TARGETS[0], text)).toEqual(
      LIBRARIES.map((name) => `${join(text, name)} is no 64-bit library for Linux`),
    );
  });

  it('is for the machine that it is packed for', () => {
    const other = targetNamed((name) => name !== here);
    expect(problemsOf(other, ofNode)).toEqual(
      LIBRARIES.map((name) => `${join(ofNode, name)} is built for ${here}, and ${other.name} is wanted`),
    );
  });

  it('needs no library but those of glibc, and no version that is too new', () => {
    const [first] = problemsOf(
      targetNamed((name) => name === here),
      ofNode,
    );
    expect(first).toMatch(/liblacuna_ort\.so needs (?!.*libc\.so).*libstdc\+\+\.so\.6.*, which users may not have$/);
    expect(
      problemsOf(
        targetNamed((name) => name === here),
        ofNode,
      )[1],
    ).toMatch(/needs .*GLIBCXX_3.*, and glibc 2\.28 is to suffice$/);
  });
});
