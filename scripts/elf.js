// What a 64-bit little-endian ELF library asks the system that loads it for (System V ABI, "Object Files").

const MACHINES = { 62: 'x64', 183: 'arm64' };
/** Types of sections, and the tag of a library that is needed. */
const [STRINGS_OF_SYMBOLS, DYNAMIC, VERSIONS_NEEDED] = ['.dynstr', 6, 0x6ffffffe];
const NEEDED = 1n;

export const isElf = (bytes) =>
  bytes.length >= 64 && bytes.readUInt32BE(0) === 0x7f454c46 && bytes[4] === 2 && bytes[5] === 1;

/** The machine as Node calls it, the libraries, and the versions of symbols, as GLIBC_2.14. */
export function readElf(bytes) {
  const sections = sectionsOf(bytes);
  const strings = sections.find(({ name }) => name === STRINGS_OF_SYMBOLS);
  const text = (offset) => stringAt(bytes, strings.offset + offset);
  const ofType = (wanted) => sections.filter(({ type }) => type === wanted);
  return {
    machine: `linux-${MACHINES[bytes.readUInt16LE(18)]}`,
    libraries: ofType(DYNAMIC)
      .flatMap((section) => neededBy(bytes, section))
      .map(text),
    versions: ofType(VERSIONS_NEEDED)
      .flatMap((section) => versionsIn(bytes, section))
      .map(text),
  };
}

function stringAt(bytes, start) {
  return bytes.toString('latin1', start, bytes.indexOf(0, start));
}

function sectionsOf(bytes) {
  const start = Number(bytes.readBigUInt64LE(40));
  const [size, count, names] = [58, 60, 62].map((at) => bytes.readUInt16LE(at));
  const sections = Array.from({ length: count }, (_, i) => {
    const at = start + i * size;
    const [offset, length] = [24, 32].map((field) => Number(bytes.readBigUInt64LE(at + field)));
    return { nameAt: bytes.readUInt32LE(at), type: bytes.readUInt32LE(at + 4), offset, length };
  });
  return sections.map(({ nameAt, ...rest }) => ({ ...rest, name: stringAt(bytes, sections[names].offset + nameAt) }));
}

/** Entries are a tag and a value of 8 bytes each. Values of this tag are places among the strings. */
function neededBy(bytes, { offset, length }) {
  return Array.from({ length: length / 16 }, (_, i) => offset + i * 16)
    .filter((at) => bytes.readBigUInt64LE(at) === NEEDED)
    .map((at) => Number(bytes.readBigUInt64LE(at + 8)));
}

/** A chain of libraries, each with a chain of versions. Links are distances in bytes, and 0 ends a chain. */
function versionsIn(bytes, { offset }) {
  return chain(offset, (at) => bytes.readUInt32LE(at + 12)).flatMap((library) =>
    chain(library + bytes.readUInt32LE(library + 8), (at) => bytes.readUInt32LE(at + 12)).map((at) =>
      bytes.readUInt32LE(at + 8),
    ),
  );
}

function chain(first, distance) {
  const places = [first];
  for (let at = first; distance(at) !== 0; places.push(at)) at += distance(at);
  return places;
}
