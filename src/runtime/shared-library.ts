/**
 * Whether a shared library is one for this machine, by its header alone. The system's loader says little about a library
 * of another machine, and ends the process for one that is cut short.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { arch, platform } from 'node:os';

/** Machine codes (System V ABI, e_machine) in the ELF headers of our builds. */
const ELF_MACHINES: Readonly<Record<number, string>> = { 62: 'x64', 183: 'arm64' };
/** The header of a 64-bit ELF file. */
const ELF_HEADER_BYTES = 64;

/**
 * Why a file cannot be loaded here, and what to do; undefined if nothing is known against it. A missing file is the
 * loader's to name.
 */
export function libraryProblem(file: string): string | undefined {
  // Our builds for other systems have other formats, which their loaders check.
  if (platform() !== 'linux') return undefined;
  const start = readStart(file);
  const problem = start && elfProblem(start.header, start.size);
  return problem && `${problem}; install Lacuna again on this machine`;
}

function readStart(file: string): { header: Buffer; size: number } | undefined {
  let opened: number;
  try {
    opened = openSync(file, 'r');
  } catch {
    return undefined;
  }
  try {
    const header = Buffer.alloc(ELF_HEADER_BYTES);
    const bytesRead = readSync(opened, header, 0, ELF_HEADER_BYTES, 0);
    return { header: header.subarray(0, bytesRead), size: fstatSync(opened).size };
  } finally {
    closeSync(opened);
  }
}

/** Our linkers write the table of sections last, so a library that ends before the table's end is cut short. */
function elfProblem(header: Buffer, size: number): string | undefined {
  if (header.length < ELF_HEADER_BYTES || header.readUInt32BE(0) !== 0x7f454c46) return 'it is not a shared library';
  const machine = header.readUInt16LE(18);
  const built = ELF_MACHINES[machine] ?? `machine ${machine}`;
  if (built !== arch()) return `it is built for ${built}, and this is ${arch()}`;
  const end = Number(header.readBigUInt64LE(40)) + header.readUInt16LE(58) * header.readUInt16LE(60);
  return end > size ? `it is cut short: it has ${size} bytes of ${end}` : undefined;
}
