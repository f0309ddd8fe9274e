// Whether a build of the native core is what its target says: for this processor, and for the oldest system.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readElf } from './elf.js';
import { GLIBC, LIBRARIES, NOTES } from './native-targets.js';

/** What is wrong with what is in `folder`, a sentence each. */
export function problemsOf(target, folder) {
  const names = [...LIBRARIES, ...Object.values(NOTES)];
  const missing = names.filter((name) => !existsSync(join(folder, name)));
  if (missing.length > 0) return missing.map((name) => `${join(folder, name)} is missing`);
  const others = readdirSync(folder).filter((name) => !names.includes(name));
  return [
    ...others.map((name) => `${join(folder, name)} does not belong there`),
    ...LIBRARIES.flatMap((name) => problemsOfLibrary(target, join(folder, name))),
  ];
}

function problemsOfLibrary(target, file) {
  try {
    return compare(target, file, readElf(file));
  } catch (error) {
    return [error.message];
  }
}

function compare({ name, libraries }, file, found) {
  const machine = `linux-${found.cpu}`;
  if (machine !== name) return [`${file} is built for ${machine}, and ${name} is wanted`];
  const strangers = found.libraries.filter((library) => !libraries.includes(library));
  const tooNew = found.versions.filter((version) => !isOldEnough(version));
  return [
    ...(strangers.length === 0 ? [] : [`${file} needs ${strangers.join(', ')}, which users may not have`]),
    ...(tooNew.length === 0 ? [] : [`${file} needs ${tooNew.join(', ')}, and glibc ${GLIBC} is to suffice`]),
  ];
}

/** Versions of anything but glibc would be those of a library that is not to be needed. */
function isOldEnough(version) {
  const [, major, minor] = /^GLIBC_(\d+)\.(\d+)/.exec(version) ?? [];
  const [wantedMajor, wantedMinor] = GLIBC.split('.').map(Number);
  return Number(major) === wantedMajor && Number(minor) <= wantedMinor;
}
