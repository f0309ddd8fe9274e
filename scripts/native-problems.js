// Whether a build of the native core is what its target says: for this processor, and for the oldest system.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isElf, readElf } from './elf.js';
import { isMachO, readMachO } from './mach-o.js';
import { GLIBC, NOTES } from './native-targets.js';
import { isPe, readPe } from './pe.js';

/** What is wrong with what is in `folder`, a sentence each. */
export function problemsOf(target, folder) {
  const names = [...target.files, ...Object.values(NOTES)];
  const missing = names.filter((name) => !existsSync(join(folder, name)));
  if (missing.length > 0) return missing.map((name) => `${join(folder, name)} is missing`);
  const others = readdirSync(folder).filter((name) => !names.includes(name));
  return [
    ...others.map((name) => `${join(folder, name)} does not belong there`),
    ...target.files.flatMap((name) => problemsOfLibrary(target, join(folder, name))),
  ];
}

function problemsOfLibrary(target, file) {
  const bytes = readFileSync(file);
  const [, read] = FORMATS.find(([is]) => is(bytes)) ?? [];
  return read === undefined ? [`${file} is no 64-bit library`] : compare(target, file, read(bytes));
}

const FORMATS = [
  [isElf, readElf],
  [isMachO, readMachO],
  [isPe, readPe],
];

function compare({ name, libraries }, file, found) {
  if (found.machine !== name) return [`${file} is built for ${found.machine}, and ${name} is wanted`];
  const strangers = found.libraries.filter((library) => !libraries.some((known) => isNamed(known, library)));
  const tooNew = found.versions.filter((version) => !isOldEnough(version));
  return [
    ...(strangers.length === 0 ? [] : [`${file} needs ${strangers.join(', ')}, which users may not have`]),
    ...(tooNew.length === 0 ? [] : [`${file} needs ${tooNew.join(', ')}, and glibc ${GLIBC} is to suffice`]),
  ];
}

/** `known` is a name or a pattern of names. */
const isNamed = (known, library) => (known instanceof RegExp ? known.test(library) : known === library);

/** Versions of anything but glibc would be those of a library that is not to be needed. */
function isOldEnough(version) {
  const [, major, minor] = /^GLIBC_(\d+)\.(\d+)/.exec(version) ?? [];
  const [wantedMajor, wantedMinor] = GLIBC.split('.').map(Number);
  return Number(major) === wantedMajor && Number(minor) <= wantedMinor;
}
