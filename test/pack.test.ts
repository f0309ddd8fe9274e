/** What `npm run pack:all` refuses to pack: libraries for another machine, or for a newer one than users may have. */
import { copyFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { root, temporaryFolder } from './temporary.ts';

interface Target {
  readonly name: string;
  readonly files: readonly string[];
}

interface Targets {
  readonly TARGETS: readonly Target[];
  readonly NOTES: Readonly<Record<string, string>>;
}

const scripts = (name: string) => import(pathToFileURL(join(root, 'scripts', name)).href);
const { problemsOf }: { problemsOf: (target: Target, folder: string) => string[] } =
  await scripts('native-problems.js');
const { TARGETS, NOTES }: Targets = await scripts('native-targets.js');

const LIBRARIES = TARGETS[0].files;
const parent = temporaryFolder();
const here = `linux-${process.arch}`;
const targetNamed = (wanted: (name: string) => boolean) => {
  const found = TARGETS.find(({ name }) => wanted(name));
  if (found === undefined) throw new Error('there is no such target');
  return found;
};

/** A folder with all files of a target's build, each made by `make`. */
function buildOf(make: (file: string) => void, target = here): string {
  const folder = mkdtempSync(join(parent, 'lib-'));
  for (const name of targetNamed((known) => known === target).files) make(join(folder, name));
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
    expect(problemsOf(TARGETS[0], text)).toEqual(LIBRARIES.map((name) => `${join(text, name)} is no 64-bit library`));
  });

  it('is for the machine that it is packed for', () => {
    const other = targetNamed((name) => name !== here && name.startsWith('linux'));
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

  it('is read in the formats of other systems too', () => {
    const problemsIn = (name: string, bytes: Buffer) =>
      problemsOf(
        targetNamed((known) => known === name),
        buildOf((file) => writeFileSync(file, bytes), name),
      ).map((problem) => problem.replace(/.*lib-\w+\//, ''));
    const [x64, arm64] = [0x01000007, 0x0100000c].map((cpu) => machO(cpu, 'libz.1.dylib'));
    expect(problemsIn('darwin-arm64', x64)[0]).toBe(
      'liblacuna_ort.dylib is built for darwin-x64, and darwin-arm64 is wanted',
    );
    expect(problemsIn('darwin-arm64', arm64)[0]).toBe(
      'liblacuna_ort.dylib needs libz.1.dylib, which users may not have',
    );
    expect(problemsIn('win32-x64', arm64)[0]).toBe('lacuna_ort.dll is built for darwin-arm64, and win32-x64 is wanted');
    expect(problemsIn('win32-x64', pe(0xaa64, 'KERNEL32.dll'))[0]).toBe(
      'lacuna_ort.dll is built for win32-arm64, and win32-x64 is wanted',
    );
    expect(problemsIn('win32-x64', pe(0x8664, 'KERNEL32.dll'))).toEqual([]);
    expect(problemsIn('win32-x64', pe(0x8664, 'libstdc++-6.dll'))[0]).toBe(
      'lacuna_ort.dll needs libstdc++-6.dll, which users may not have',
    );
  });
});

/** A header of macOS, and one command, which loads a library. */
function machO(cpu: number, library: string): Buffer {
  const bytes = Buffer.alloc(96);
  bytes.writeUInt32LE(0xfeedfacf, 0);
  bytes.writeUInt32LE(cpu, 4);
  bytes.writeUInt32LE(1, 16);
  bytes.writeUInt32LE(0xc, 32);
  bytes.writeUInt32LE(64, 36);
  bytes.writeUInt32LE(24, 40);
  bytes.write(library, 56);
  return bytes;
}

/** Headers of Windows, and one section at address 4096, in which the table of imports names a library. */
function pe(machine: number, library: string): Buffer {
  const bytes = Buffer.alloc(600);
  const [start, optional, section, place] = [64, 88, 88 + 240, 400];
  bytes.write('MZ', 0);
  bytes.writeUInt32LE(start, 60);
  bytes.write('PE', start);
  bytes.writeUInt16LE(machine, start + 4);
  bytes.writeUInt16LE(1, start + 6);
  bytes.writeUInt16LE(240, start + 20);
  bytes.writeUInt16LE(0x20b, optional);
  bytes.writeUInt32LE(4096, optional + 120);
  bytes.writeUInt32LE(4096, section + 12);
  bytes.writeUInt32LE(200, section + 16);
  bytes.writeUInt32LE(place, section + 20);
  bytes.writeUInt32LE(4096 + 40, place + 12);
  bytes.write(library, place + 40);
  return bytes;
}
