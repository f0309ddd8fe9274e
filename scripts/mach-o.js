// What a 64-bit Mach-O library asks macOS for (loader.h: a header of 32 bytes, then load commands).

const MAGIC = 0xfeedfacf;
const MACHINES = { 16777223: 'x64', 16777228: 'arm64' };
/** Loads a library; bit 31 marks a command that an old system must not ignore. */
const LOAD_LIBRARIES = [0xc, 0x80000018, 0x8000001f, 0x80000023];

export const isMachO = (bytes) => bytes.length >= 32 && bytes.readUInt32LE(0) === MAGIC;

/** The machine as Node calls it, and the libraries. */
export function readMachO(bytes) {
  const libraries = [];
  let at = 32;
  for (let left = bytes.readUInt32LE(16); left > 0; left--) {
    if (LOAD_LIBRARIES.includes(bytes.readUInt32LE(at))) {
      const name = at + bytes.readUInt32LE(at + 8);
      libraries.push(bytes.toString('utf8', name, bytes.indexOf(0, name)));
    }
    at += bytes.readUInt32LE(at + 4);
  }
  return { machine: `darwin-${MACHINES[bytes.readUInt32LE(4)]}`, libraries, versions: [] };
}
