// The machines that the package carries a native core for.
//
// `name` is that of Node's platform and processor; `zig`, `system` and `processor` are the names of zig's clang and of
// CMake. `libraries` is all that a library may ask the system for. Node 20 asks for the same C library.

/** The oldest release of glibc with which the libraries load. */
export const GLIBC = '2.28';

const LIBC = ['libc.so.6', 'libm.so.6', 'libpthread.so.0', 'libdl.so.2'];

export const TARGETS = [
  {
    name: 'linux-x64',
    zig: `x86_64-linux-gnu.${GLIBC}`,
    system: 'Linux',
    processor: 'x86_64',
    needs: `glibc ${GLIBC}`,
    libraries: [...LIBC, 'ld-linux-x86-64.so.2'],
  },
  {
    name: 'linux-arm64',
    zig: `aarch64-linux-gnu.${GLIBC}`,
    system: 'Linux',
    processor: 'aarch64',
    needs: `glibc ${GLIBC}`,
    libraries: [...LIBC, 'ld-linux-aarch64.so.1'],
  },
];

/** What a build consists of, and what scripts/build-native.js writes beside it. */
export const LIBRARIES = ['liblacuna_ort.so', 'lacuna_node.node'];
export const NOTES = { madeFor: 'native.json', licences: 'LICENCES.txt' };
