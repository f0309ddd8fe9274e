// Whether a build of the native core is what its target says: for this processor, and for the oldest system.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readElf } from './elf.js';
import { FILES, GLIBC } from './native-targets.js';

/** What is wrong with the libraries in `folder`, a sentence each. */
export function problemsOf(target, folder) {
  return FILES.map((name) => join(folder, name)).flatMap((file) => {
    if (!existsSync(file)) return [`${file} is missing`];
    try {
      return problemsOfLibrary(target, file, readElf(file));
    } catch (error) {
      return [error.message];
    }
  });
}

function problemsOfLibrary({ name, libraries }, file, found) {
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
