// What the processor's instructions are worth: decode speed by instruction set, and instructions a weight.
//
//     node bench/instruction-sets.js [--passes 5] [--threads 2] [--dtypes int4,int5,int6,int8] [--model DIR] [--work WORK]
//     node bench/instruction-sets.js --count FOLDER[,FOLDER]
//
// The first table needs a native core. Each pass decodes with every set that this processor has, and with stock ONNX
// Runtime beside each. The second table needs folders of builds that were made with --bench. It counts what a dense FFN
// block runs for a token: on x64 by valgrind, for arm64 by qemu. Counts do not depend on what else the machine does. A
// folder that was configured with -DLACUNA_PORTABLE_BYTES=ON says what our products of bytes are worth.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { lacuna, MODEL, madeOnce, median, readOptions, table, WORK } from './harness.js';

const options = readOptions({
  passes: '5',
  threads: '2',
  dtypes: 'int4,int5,int6,int8',
  model: MODEL,
  work: WORK,
  count: '',
});
const PRECISIONS = options.dtypes.split(',');
const X64 = ['AVX3_DL', 'AVX2_VNNI', 'AVX2', 'SSE2'];
const ARM64 = ['NEON_DOT', 'NEON'];

/** Runs `what` with kernels of one instruction set. */
function withInstructions(name, what) {
  process.env.LACUNA_INSTRUCTIONS = name;
  try {
    return what();
  } finally {
    delete process.env.LACUNA_INSTRUCTIONS;
  }
}

const isHere = (name) => withInstructions(name, () => JSON.parse(lacuna('doctor', '--json')).kernels.active);

/** The rate of the native session, and its ratio to stock ONNX Runtime in the same process. */
function decode(folder) {
  const counts = ['--repeats', '1', '--rounds', '2', '--threads', options.threads];
  const { subjects, speedup } = JSON.parse(lacuna('bench', folder, '--against-engine', 'stock', ...counts, '--json'));
  return { rate: subjects[1].decodeTokensPerSecond.median, ratio: speedup.median };
}

function printSpeeds() {
  const work = join(options.work, 'instruction-sets');
  mkdirSync(work, { recursive: true });
  const folders = PRECISIONS.map((dtype) =>
    madeOnce(join(work, dtype), (path) => lacuna('convert', options.model, '-o', path, '--dtype', dtype, '--quiet')),
  );
  const sets = [...X64, ...ARM64].filter(isHere);
  const passes = Array.from({ length: Number(options.passes) }, () =>
    sets.map((name) => withInstructions(name, () => folders.map(decode))),
  );
  const rows = sets.map((name, i) => [
    name,
    ...PRECISIONS.map((_, j) => {
      const [rate, ratio] = ['rate', 'ratio'].map((what) => median(passes.map((pass) => pass[i][j][what])));
      return `${rate.toFixed(0)} (${ratio.toFixed(2)})`;
    }),
  ]);
  const titles = PRECISIONS.map((dtype) => `${dtype}, tok/s (to stock)`);
  console.log(table(['instructions', ...titles], rows));
}

/** Instructions that the program runs on x64. */
function countByValgrind(command) {
  const valgrind = ['--tool=callgrind', '--callgrind-out-file=/dev/null', ...command];
  const log = execFileSync('sh', ['-c', 'exec valgrind "$@" 2>&1', 'sh', ...valgrind], { encoding: 'utf8' });
  return Number(/Collected : (\d+)/.exec(log)[1]);
}

/**
 * Instructions that the program runs on arm64. qemu's log has the instructions of each translated block, and a line for
 * each time that a block runs.
 */
async function countByQemu(command) {
  const args = ['-L', '/usr/aarch64-linux-gnu', '-cpu', 'neoverse-n1', '-d', 'nochain,exec,in_asm', ...command];
  const qemu = spawn('qemu-aarch64-static', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const lengths = new Map();
  let [start, count] = ['', 0];
  for await (const line of createInterface({ input: qemu.stderr })) {
    if (line.startsWith('IN:')) start = '';
    else if (line.startsWith('0x')) {
      if (start === '') {
        start = line.slice(2, line.indexOf(':')).padStart(16, '0');
        lengths.set(start, 0);
      }
      lengths.set(start, lengths.get(start) + 1);
    } else if (line.startsWith('Trace')) count += lengths.get(/\[\w+\/(\w+)\//.exec(line)[1]);
  }
  return count;
}

/** The instructions of a call: what two more calls add, halved. */
async function countACall(folder, storage, set, count) {
  const command = (calls) => [join(folder, 'block_calls'), storage, calls, set];
  return ((await count(command('3'))) - (await count(command('1')))) / 2;
}

/** The weights of the block of native/bench/block_calls.cc. */
const WEIGHTS = 3 * 576 * 1536;

/** Whether products of bytes are Highway's own in this build. */
function isPortable(folder) {
  const cache = join(folder, 'CMakeCache.txt');
  return existsSync(cache) && /^LACUNA_PORTABLE_BYTES:BOOL=ON$/m.test(readFileSync(cache, 'utf8'));
}

async function printCounts(folders) {
  const rows = [];
  for (const folder of folders) {
    const isArm = /aarch64/.test(execFileSync('file', [join(folder, 'block_calls')], { encoding: 'utf8' }));
    // valgrind knows neither AVX-512 nor AVX-VNNI.
    for (const set of isArm ? ARM64 : X64.slice(2)) {
      const counts = [];
      for (const storage of PRECISIONS)
        counts.push(await countACall(folder, storage, set, isArm ? countByQemu : countByValgrind));
      rows.push([
        isPortable(folder) ? `${set}, Highway's products` : set,
        ...counts.map((count) => (count / WEIGHTS).toFixed(2)),
      ]);
    }
  }
  console.log(table(['instructions a weight', ...PRECISIONS], rows));
}

if (options.count === '') printSpeeds();
else await printCounts(options.count.split(','));
