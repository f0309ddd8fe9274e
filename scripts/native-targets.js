// The machines that the package carries a native core for.
//
// `name` is that of Node's platform and processor; `zig`, `system` and `processor` are the names of zig's clang and of
// CMake. `files` are the library of operators and the addon. `libraries` is all that they may ask the system for. `tested`
// says where this project has run them, which `lacuna doctor` repeats.

/** The oldest release of glibc with which the libraries load. Node 20 asks for the same. */
export const GLIBC = '2.28';

const LIBC = ['libc.so.6', 'libm.so.6', 'libpthread.so.0', 'libdl.so.2'];
const onLinux = { system: 'Linux', needs: `glibc ${GLIBC}`, files: ['liblacuna_ort.so', 'lacuna_node.node'] };

export const TARGETS = [
  {
    ...onLinux,
    name: 'linux-x64',
    zig: `x86_64-linux-gnu.${GLIBC}`,
    processor: 'x86_64',
    libraries: [...LIBC, 'ld-linux-x86-64.so.2'],
    tested: 'by all tests',
  },
  {
    ...onLinux,
    name: 'linux-arm64',
    zig: `aarch64-linux-gnu.${GLIBC}`,
    processor: 'aarch64',
    libraries: [...LIBC, 'ld-linux-aarch64.so.1'],
    tested: 'in an emulator',
  },
  {
    name: 'darwin-arm64',
    zig: 'aarch64-macos.13.0',
    system: 'Darwin',
    processor: 'arm64',
    needs: 'macOS 13',
    files: ['liblacuna_ort.dylib', 'lacuna_node.node'],
    libraries: ['/usr/lib/libSystem.B.dylib'],
    tested: 'nowhere yet',
  },
  {
    name: 'win32-x64',
    zig: 'x86_64-windows-gnu',
    system: 'Windows',
    processor: 'AMD64',
    needs: 'Windows 10',
    files: ['lacuna_ort.dll', 'lacuna_node.node'],
    // Windows 10 has the parts of the C library. Node's functions are found in the program that loads the addon.
    libraries: [/^(kernel32|ntdll|node)\.(dll|exe)$/i, /^api-ms-win-crt-\w+-l1-1-0\.dll$/],
    tested: 'in Wine',
  },
];

/** What scripts/build-native.js writes beside the libraries. */
export const NOTES = { madeFor: 'native.json', licences: 'LICENCES.txt' };
