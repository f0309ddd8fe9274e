// Builds the native core: node scripts/build-native.js [--preset release|debug|address|thread|arm64] [--test] [--bench]
// [--cuda] [--jobs N]
//
// Headers come from the system if it has them, else from Debian's packages, unpacked into native/build/prefix without
// installing anything. A header that is available neither way is named, with its package. A cross compiler builds the
// preset arm64, only from packages of that architecture.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';

const native = join(dirname(import.meta.dirname), 'native');
const { values: options } = parseArgs({
  options: {
    preset: { type: 'string', default: 'release' },
    test: { type: 'boolean', default: false },
    bench: { type: 'boolean', default: false },
    cuda: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '2' },
  },
});

/** Builds for another machine: the compiler, and Debian's names for it. */
const CROSS = { arm64: { compiler: 'aarch64-linux-gnu-g++', architecture: 'arm64', package: 'g++-aarch64-linux-gnu' } };
const cross = CROSS[options.preset];
const prefix = join(native, cross === undefined ? 'build/prefix' : `build/${options.preset}/prefix`);

/** What the build reads, and the Debian packages that contain it. */
const NEEDS = [
  {
    what: 'Highway 1.2 or newer',
    header: ['hwy/highway.h'],
    version: (include) => highwayVersion(join(include, 'hwy/base.h')),
    atLeast: [1, 2],
    packages: packagesOf('libhwy-dev', 'libhwy1t64'),
  },
  {
    what: "ONNX Runtime's C header, 1.21 or newer",
    header: ['onnxruntime/onnxruntime_c_api.h', 'onnxruntime/core/session/onnxruntime_c_api.h', 'onnxruntime_c_api.h'],
    version: (_, header) => [1, Number(/define ORT_API_VERSION (\d+)/.exec(readFileSync(header, 'utf8'))?.[1])],
    atLeast: [1, 21],
    packages: packagesOf('libonnxruntime-dev'),
  },
  // For another machine it is compiled from its source, which is the same for all.
  cross === undefined
    ? { what: 'GoogleTest', header: ['gtest/gtest.h'], packages: ['libgtest-dev'], forTests: true }
    : { what: 'GoogleTest', header: ['../src/googletest/CMakeLists.txt'], packages: ['googletest'], forTests: true },
];

/** Packages of the target architecture. */
function packagesOf(...names) {
  return cross === undefined ? names : names.map((name) => `${name}:${cross.architecture}`);
}

/** The Debian release that has them all. */
const SUITE = 'trixie';

function highwayVersion(base) {
  const text = readFileSync(base, 'utf8');
  return ['MAJOR', 'MINOR'].map((part) => Number(new RegExp(`define HWY_${part} (\\d+)`).exec(text)?.[1]));
}

function includeFolders() {
  const given = (process.env.CMAKE_PREFIX_PATH ?? '').split(/[:;]/).filter((folder) => folder !== '');
  const here = cross === undefined ? [...given, '/usr', '/usr/local', '/opt/homebrew'] : [];
  return [join(prefix, 'usr'), ...here].map((folder) => join(folder, 'include'));
}

function found({ header, version, atLeast }) {
  return includeFolders().some((include) => {
    const file = header.map((name) => join(include, name)).find(existsSync);
    if (file === undefined) return false;
    if (version === undefined) return true;
    const [major, minor] = version(include, file);
    return major > atLeast[0] || (major === atLeast[0] && minor >= atLeast[1]);
  });
}

function has(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

function hasNvcc() {
  const { CUDA_PATH } = process.env;
  return has('nvcc') || (CUDA_PATH !== undefined && has(join(CUDA_PATH, 'bin/nvcc')));
}

function fail(lines) {
  console.error(lines.join('\n'));
  process.exit(1);
}

/** apt's options for package lists of our own: those of SUITE, from this machine's Debian mirror. */
function privateApt() {
  const listing = ['indextargets', '--format', '$(ORIGIN) $(REPO_URI)', 'Created-By: Packages'];
  const targets = execFileSync('apt-get', listing, { encoding: 'utf8' });
  const uri = /^Debian (\S+)/m.exec(targets)?.[1];
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  if (uri === undefined || !existsSync(keyring)) return undefined;
  const apt = join(native, 'build/apt');
  for (const folder of ['sources', 'lists/partial', 'cache/archives/partial'])
    mkdirSync(join(apt, folder), { recursive: true });
  const source = ['Types: deb', `URIs: ${uri}`, `Suites: ${SUITE}`, 'Components: main', `Signed-By: ${keyring}`];
  writeFileSync(join(apt, 'sources/lacuna.sources'), `${source.join('\n')}\n`);
  const settings = {
    'Dir::Etc::sourcelist': '/dev/null',
    'Dir::Etc::sourceparts': join(apt, 'sources'),
    'Dir::State::lists': join(apt, 'lists'),
    'Dir::Cache': join(apt, 'cache'),
    // No icons, descriptions and the like: only the list of packages.
    'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled': 'false',
    'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled': 'false',
    'Acquire::Languages': 'none',
    'APT::Sandbox::User': 'root',
    ...(cross && { 'APT::Architectures::': cross.architecture }),
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/** Unpacks packages into the prefix. Returns whether that worked. */
function fetch(packages) {
  if (!has('apt-get') || !has('dpkg-deb')) return false;
  const apt = privateApt();
  if (apt === undefined) return false;
  const debs = join(native, 'build/debs');
  rmSync(debs, { recursive: true, force: true });
  mkdirSync(debs, { recursive: true });
  mkdirSync(prefix, { recursive: true });
  console.log(`== ${packages.join(', ')} from Debian ${SUITE}, into ${relative(dirname(native), prefix)}`);
  const run = (...args) =>
    spawnSync('apt-get', [...apt, ...args], { cwd: debs, stdio: ['ignore', 'ignore', 'inherit'] });
  if (run('update').status !== 0 || run('download', ...packages).status !== 0) return false;
  return readdirSync(debs).every((deb) => spawnSync('dpkg-deb', ['-x', join(debs, deb), prefix]).status === 0);
}

function checkTools() {
  const missing = [
    ...(has('cmake') ? [] : ['cmake (3.21 or newer)']),
    ...(['c++', 'g++', 'clang++'].some(has) ? [] : ['a C++20 compiler (g++ 11 or clang 14)']),
    ...(cross === undefined || has(cross.compiler) ? [] : [`${cross.compiler} (Debian's ${cross.package})`]),
    ...(['ninja', 'make'].some(has) ? [] : ['ninja-build or make']),
    ...(!options.cuda || hasNvcc() ? [] : ['nvcc 12 or newer (on the PATH, or in the bin of CUDA_PATH)']),
  ];
  if (missing.length > 0)
    fail([
      `Cannot build the native core; missing: ${missing.join(', ')}`,
      '  On Debian: apt-get install cmake g++ ninja-build',
    ]);
}

function checkHeaders() {
  const wanted = NEEDS.filter(({ forTests }) => options.test || !forTests);
  const absent = wanted.filter((need) => !found(need));
  if (absent.length > 0) fetch(absent.flatMap(({ packages }) => packages));
  const missing = wanted.filter((need) => !found(need));
  if (missing.length === 0) return;
  fail([
    'Cannot build the native core; missing:',
    ...missing.map(
      ({ what, packages }) =>
        `  ${what}: Debian ${SUITE}'s ${packages.join(', ')}, or another copy named by CMAKE_PREFIX_PATH`,
    ),
  ]);
}

function step(command, args) {
  const { status } = spawnSync(command, args, { cwd: native, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

checkTools();
checkHeaders();
const { preset, test, bench, cuda, jobs } = options;
const parts = Object.entries({ TESTS: test, BENCH: bench, CUDA: cuda });
const flags = parts.map(([part, on]) => `-DLACUNA_${part}=${on ? 'ON' : 'OFF'}`);
step('cmake', ['--preset', preset, ...(has('ninja') ? ['-G', 'Ninja'] : []), ...flags]);
step('cmake', ['--build', '--preset', preset, '-j', jobs]);
if (test) step('ctest', ['--preset', preset]);
console.log(`\nThe library for ONNX Runtime: ${join(native, 'build', preset, 'lib/liblacuna_ort.so')}`);
