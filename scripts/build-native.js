// Builds the native core:
//
//     node scripts/build-native.js [--preset release|debug|address|thread|cuda | --target NAME] [--test] [--bench] [--jobs N]
//                                  [--together] [--headers]
//
// A preset is built by this machine's compiler, for this machine. `cuda` is the kernels for GPUs and their tests alone. A
// target (scripts/native-targets.js) is what ships: zig's compiler builds it, on any machine, for the oldest system that
// it is for.
//
// `--together` compiles files that are alike as one, on one core: less work than file by file, for machines that have other work
// for their other cores.
//
// Headers come from the system if it has them, else from Debian's packages, unpacked into native/build/prefix without
// installing anything. A header that is available neither way is named, with its package. `--headers` ends here: builds that
// run at the same time must not fetch at the same time.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { NOTES, TARGETS } from './native-targets.js';

const root = dirname(import.meta.dirname);
const native = join(root, 'native');
const prefix = join(native, 'build/prefix');
const { values: options } = parseArgs({
  options: {
    preset: { type: 'string', default: 'release' },
    target: { type: 'string' },
    test: { type: 'boolean', default: false },
    bench: { type: 'boolean', default: false },
    jobs: { type: 'string' },
    together: { type: 'boolean', default: false },
    headers: { type: 'boolean', default: false },
  },
});

const target = TARGETS.find(({ name }) => name === options.target);
/** The compiler of targets, PyPI's ziglang. One version, so that the same sources give the same libraries. */
const ZIG = { version: '0.17.1', venv: '.venv-zig' };
const zig = target && findZig();
/** The kernels for GPUs have no other user yet. */
const test = options.test || options.preset === 'cuda';

/** What the build reads, and the Debian packages that contain it. */
const NEEDS = [
  {
    what: "Highway's source, 1.2 or newer",
    files: ['src/highway/hwy/targets.cc', 'hwy/targets.cc'],
    version: (file) => highwayVersion(join(dirname(file), 'base.h')),
    atLeast: [1, 2],
    source: 'highway',
  },
  {
    what: "ONNX Runtime's C header, 1.21 or newer",
    files: ['onnxruntime', 'onnxruntime/core/session', '.'].map((folder) => `include/${folder}/onnxruntime_c_api.h`),
    version: (file) => [1, Number(/define ORT_API_VERSION (\d+)/.exec(readFileSync(file, 'utf8'))?.[1])],
    atLeast: [1, 21],
    package: 'libonnxruntime-dev',
  },
  // A target has a C++ library of its own, which GoogleTest is compiled with.
  target === undefined
    ? { what: 'GoogleTest', files: ['include/gtest/gtest.h'], package: 'libgtest-dev', forTests: true }
    : {
        what: "GoogleTest's source",
        files: ['src/googletest/googletest/CMakeLists.txt'],
        package: 'googletest',
        forTests: true,
      },
];

/** The Debian release that has them all. */
const SUITE = 'trixie';

function highwayVersion(base) {
  const text = readFileSync(base, 'utf8');
  return ['MAJOR', 'MINOR'].map((part) => Number(new RegExp(`define HWY_${part} (\\d+)`).exec(text)?.[1]));
}

/** Where CMake looks. Headers of this machine's system are not those of a target. */
function folders() {
  const given = (process.env.CMAKE_PREFIX_PATH ?? '').split(/[:;]/).filter((folder) => folder !== '');
  return [join(prefix, 'usr'), ...given, ...(target === undefined ? ['/usr', '/usr/local', '/opt/homebrew'] : [])];
}

function found({ files, version, atLeast }) {
  return folders().some((folder) => {
    const file = files.map((name) => join(folder, name)).find(existsSync);
    if (file === undefined) return false;
    if (version === undefined) return true;
    const [major, minor] = version(file);
    return major > atLeast[0] || (major === atLeast[0] && minor >= atLeast[1]);
  });
}

function has(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

/** In the virtual environment of this repository. */
function findZig() {
  const lib = join(root, ZIG.venv, 'lib');
  const found = (existsSync(lib) ? readdirSync(lib) : []).map((python) =>
    join(lib, python, 'site-packages/ziglang/zig'),
  );
  const versionOf = (file) => spawnSync(file, ['version'], { encoding: 'utf8' }).stdout?.trim();
  return found.find((file) => versionOf(file) === ZIG.version);
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
  const source = [
    'Types: deb deb-src',
    `URIs: ${uri}`,
    `Suites: ${SUITE}`,
    'Components: main',
    `Signed-By: ${keyring}`,
  ];
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
  };
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/** Unpacks packages into the prefix, and sources into its src, as Debian's packages of sources do. Returns whether that worked. */
function fetch(needs) {
  if (!has('apt-get') || !has('dpkg-deb')) return false;
  const apt = privateApt();
  if (apt === undefined) return false;
  const debs = join(native, 'build/debs');
  rmSync(debs, { recursive: true, force: true });
  mkdirSync(debs, { recursive: true });
  const packages = needs.flatMap((need) => need.package ?? []);
  const sources = needs.flatMap((need) => need.source ?? []);
  const names = [...packages, ...sources].join(', ');
  console.log(`== ${names} from Debian ${SUITE}, into ${relative(dirname(native), prefix)}`);
  const run = (...args) =>
    spawnSync('apt-get', [...apt, ...args], { cwd: debs, stdio: ['ignore', 'ignore', 'inherit'] }).status === 0;
  return (
    run('update') &&
    (packages.length === 0 || run('download', ...packages)) &&
    (sources.length === 0 || run('source', '--download-only', ...sources)) &&
    readdirSync(debs).every((file) => unpack(debs, file))
  );
}

function unpack(debs, file) {
  if (file.endsWith('.deb')) return spawnSync('dpkg-deb', ['-x', join(debs, file), prefix]).status === 0;
  const [, source] = /^(.+)_[^_]+\.orig\.tar\.\w+$/.exec(file) ?? [];
  if (source === undefined) return true;
  const folder = join(prefix, 'usr/src', source);
  mkdirSync(folder, { recursive: true });
  return spawnSync('tar', ['-xf', join(debs, file), '-C', folder, '--strip-components', '1']).status === 0;
}

function checkTools() {
  if (options.target !== undefined && target === undefined)
    fail([`There is no target ${options.target}: choose from ${TARGETS.map(({ name }) => name).join(', ')}`]);
  if (target !== undefined && zig === undefined)
    fail([
      `Cannot build the native core for ${target.name}; missing: zig ${ZIG.version}`,
      `  python3 -m venv ${ZIG.venv} && ${ZIG.venv}/bin/pip install ziglang==${ZIG.version}`,
    ]);
  const missing = [
    ...(has('cmake') ? [] : ['cmake (3.21 or newer)']),
    ...(target !== undefined || ['c++', 'g++', 'clang++'].some(has) ? [] : ['a C++20 compiler (g++ 11 or clang 14)']),
    ...(['ninja', 'make'].some(has) ? [] : ['ninja-build or make']),
    ...(options.preset !== 'cuda' || hasNvcc() ? [] : ['nvcc 12 or newer (on the PATH, or in the bin of CUDA_PATH)']),
  ];
  if (missing.length > 0)
    fail([
      `Cannot build the native core; missing: ${missing.join(', ')}`,
      '  On Debian: apt-get install cmake g++ ninja-build',
    ]);
}

function checkHeaders() {
  const wanted = NEEDS.filter(({ forTests }) => test || !forTests);
  const absent = wanted.filter((need) => !found(need));
  if (absent.length > 0) fetch(absent);
  const missing = wanted.filter((need) => !found(need));
  if (missing.length === 0) return;
  fail([
    'Cannot build the native core; missing:',
    ...missing.map(({ what, package: name, source }) => {
      const debian = source === undefined ? name : `source package ${source}`;
      return `  ${what}: Debian ${SUITE}'s ${debian}, or another copy named by CMAKE_PREFIX_PATH`;
    }),
  ]);
}

/** What the preset `portable` and cmake/zig.cmake ask for. zig keeps what it has compiled, its C++ library above all. */
function targetVariables() {
  const cache = join(native, 'build/zig');
  return {
    LACUNA_TARGET: target.name,
    LACUNA_ZIG: zig,
    LACUNA_ZIG_TARGET: target.zig,
    LACUNA_SYSTEM: target.system,
    LACUNA_PROCESSOR: target.processor,
    ZIG_LOCAL_CACHE_DIR: cache,
    ZIG_GLOBAL_CACHE_DIR: cache,
  };
}

const env = () => (target === undefined ? process.env : { ...process.env, ...targetVariables() });

function step(command, args) {
  const { status } = spawnSync(command, args, { cwd: native, stdio: 'inherit', env: env() });
  if (status !== 0) process.exit(status ?? 1);
}

checkTools();
checkHeaders();
if (options.headers) process.exit(0);
const { bench, together } = options;
const jobs = options.jobs ?? (together ? '1' : '2');
const preset = target === undefined ? options.preset : 'portable';
const parts = Object.entries({ TESTS: test, BENCH: bench, TOGETHER: together });
const flags = parts.map(([part, on]) => `-DLACUNA_${part}=${on ? 'ON' : 'OFF'}`);
step('cmake', ['--preset', preset, ...(has('ninja') ? ['-G', 'Ninja'] : []), ...flags]);
step('cmake', ['--build', '--preset', preset, '-j', jobs]);
const lib = join(native, 'build', target?.name ?? preset, 'lib');
if (target !== undefined) describe(lib);
if (test) step('ctest', ['--preset', preset]);
const library = join(lib, target?.files[0] ?? 'liblacuna_ort.so');
if (existsSync(library)) console.log(`\nThe library for ONNX Runtime: ${library}`);

/** Puts beside the libraries what they are for, which `lacuna doctor` says, and the licences of the code inside. */
function describe(lib) {
  const { name, needs, tested } = target;
  writeFileSync(join(lib, NOTES.madeFor), `${JSON.stringify({ target: name, needs, tested }, null, 2)}\n`);
  writeFileSync(join(lib, NOTES.licences), licences());
}

/** The authors of the code inside, with the notices that they ask for. */
function licences() {
  const highway = folders().flatMap((folder) => [join(folder, 'src/highway'), folder]);
  const texts = [
    [
      'Highway',
      join(
        highway.find((folder) => existsSync(join(folder, 'hwy/targets.cc'))),
        'LICENSE',
      ),
    ],
    ['node-addon-api', join(root, 'node_modules/node-addon-api/LICENSE.md')],
    ["LLVM's libc++, libc++abi and libunwind", join(dirname(zig), 'lib/libcxx/LICENSE.TXT')],
    ["zig's compiler-rt", join(dirname(zig), 'LICENSE')],
  ];
  return texts
    .map(([what, file]) => `${what}\n\n${readFileSync(file, 'utf8').trim()}\n`)
    .join(`\n${'-'.repeat(80)}\n\n`);
}
