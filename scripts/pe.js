// What a 64-bit Windows library asks the system for ("PE Format": headers, sections, and the table of imports).

const MACHINES = { 34404: 'x64', 43620: 'arm64' };
/** Of the optional header of a 64-bit file. */
const [MAGIC, IMPORTS_AT] = [0x20b, 120];

export function isPe(bytes) {
  if (bytes.length < 64 || bytes.toString('latin1', 0, 2) !== 'MZ') return false;
  const start = bytes.readUInt32LE(60);
  return (
    start + 264 <= bytes.length &&
    bytes.toString('latin1', start, start + 4) === 'PE\0\0' &&
    bytes.readUInt16LE(start + 24) === MAGIC
  );
}

/** The machine as Node calls it, and the libraries. */
export function readPe(bytes) {
  const start = bytes.readUInt32LE(60);
  const sections = sectionsOf(bytes, start);
  const placeOf = (address) => {
    const section = sections.find(({ from, size }) => address >= from && address < from + size);
    return section.place + address - section.from;
  };
  const libraries = [];
  // An entry of 20 bytes for each library; one without a name ends the table.
  for (let at = placeOf(bytes.readUInt32LE(start + 24 + IMPORTS_AT)); bytes.readUInt32LE(at + 12) !== 0; at += 20) {
    const name = placeOf(bytes.readUInt32LE(at + 12));
    libraries.push(bytes.toString('latin1', name, bytes.indexOf(0, name)));
  }
  return { machine: `win32-${MACHINES[bytes.readUInt16LE(start + 4)]}`, libraries, versions: [] };
}

function sectionsOf(bytes, start) {
  const first = start + 24 + bytes.readUInt16LE(start + 20);
  return Array.from({ length: bytes.readUInt16LE(start + 6) }, (_, i) => {
    const [from, size, place] = [12, 16, 20].map((field) => bytes.readUInt32LE(first + i * 40 + field));
    return { from, size, place };
  });
}
