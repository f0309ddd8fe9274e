// Puts a build of the native core into a folder that npm packs: node scripts/pack-native.js [--preset release] [--output DIR]
//
// The folder is a package for one kind of machine. The headers of its libraries say which, so cross builds are packed
// in the same way. It is installed beside lacuna, which finds it there (src/pipeline/engine/native-library.ts):
//
//     npm pack native/build/packages/native-linux-x64
//     npm install ./lacuna-0.1.0.tgz ./lacuna-native-linux-x64-0.1.0.tgz
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const root = dirname(import.meta.dirname);
const { values: options } = parseArgs({
  options: {
    preset: { type: 'string', default: 'release' },
    output: { type: 'string', default: join(root, 'native/build/packages') },
  },
});
const built = join(root, 'native/build', options.preset, 'lib');

/** Machine codes of the ELF header (System V ABI, e_machine), as Node calls them. */
const CPUS = { 62: 'x64', 183: 'arm64' };
const NEEDED = ['liblacuna_ort.so', 'lacuna_node.node'];

function fail(message) {
  console.error(message);
  process.exit(1);
}

function cpuOf(file) {
  const header = readFileSync(file).subarray(0, 20);
  const cpu = header.readUInt32BE(0) === 0x7f454c46 ? CPUS[header.readUInt16LE(18)] : undefined;
  return cpu ?? fail(`${file} is no library for Linux on ${Object.values(CPUS).join(' or ')}`);
}

/** The authors of the code inside, with the notices that they ask for. */
function licences() {
  const highway = ['native/build', 'native/build/arm64']
    .map((folder) => join(root, folder, 'prefix/usr/share/doc/libhwy1t64/copyright'))
    .find(existsSync);
  const files = [
    ['Highway', highway ?? '/usr/share/doc/libhwy1t64/copyright'],
    ['node-addon-api', join(root, 'node_modules/node-addon-api/LICENSE.md')],
  ];
  return files
    .filter(([, file]) => existsSync(file))
    .map(([name, file]) => `${name}\n\n${readFileSync(file, 'utf8').trim()}\n`)
    .join(`\n${'-'.repeat(80)}\n\n`);
}

const missing = NEEDED.filter((name) => !existsSync(join(built, name)));
if (missing.length > 0)
  fail(`${built} lacks ${missing.join(', ')}: build with node scripts/build-native.js --preset ${options.preset}`);
const cpus = new Set(NEEDED.map((name) => cpuOf(join(built, name))));
if (cpus.size > 1) fail(`${built} holds libraries for ${[...cpus].join(' and ')}: build it anew`);
const [cpu] = cpus;
const { version, license } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const name = `@lacuna/native-linux-${cpu}`;
const folder = join(options.output, `native-linux-${cpu}`);

rmSync(folder, { recursive: true, force: true });
mkdirSync(join(folder, 'lib'), { recursive: true });
for (const file of readdirSync(built).filter((entry) => NEEDED.includes(entry) || entry.startsWith('libhwy.so')))
  copyFileSync(join(built, file), join(folder, 'lib', file));
copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
writeFileSync(join(folder, 'LICENCES.txt'), licences());
const manifest = {
  name,
  version,
  description: `Lacuna's native core for Linux on ${cpu}: operators for ONNX Runtime, and a session for Node.`,
  license,
  os: ['linux'],
  cpu: [cpu],
  libc: ['glibc'],
  exports: { './package.json': './package.json' },
  files: ['lib', 'LICENCES.txt'],
};
writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
writeFileSync(
  join(folder, 'README.md'),
  `# ${name}\n\n${manifest.description} Installed beside lacuna ${version}, it is found there; \`lacuna doctor\` says so.\n`,
);
console.log(folder);
