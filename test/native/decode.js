// A process that ends, or does other things, while a native decoder works: node decode.js HOW '{"addon": …, "runtime": …, "model": …}'
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';

const [, , how, given] = process.argv;
const { addon, ...options } = JSON.parse(given);
const { openDecoder, openModel } = createRequire(import.meta.url)(addon);

/** Tokens after which things happen: the middle of a text. */
const MIDDLE = 20;

/** A text of `maxTokens`; `onMiddle` is called within it. */
function generate(decoder, maxTokens, onMiddle = () => {}) {
  let made = 0;
  const request = {
    prompts: [BigInt64Array.of(1n, 2n)],
    seeds: new Uint32Array(2),
    eos: new BigInt64Array(0),
    maxTokens,
  };
  return decoder.generate(request, () => {
    if (++made === MIDDLE) onMiddle();
  });
}

/** A run of the model as of any model: a prompt of so many tokens, and all its results. */
function runModel(opened, tokens) {
  const [FLOAT, INT64] = [1, 7];
  const ones = (type, dims) => opened.createValue(type, dims, new BigInt64Array(tokens).fill(1n));
  const inputs = opened.inputs.map(({ name, shape }) => ({
    name,
    value: name.startsWith('past') ? opened.createValue(FLOAT, [1, shape[1], 0, shape[3]]) : ones(INT64, [1, tokens]),
  }));
  return opened.run(
    inputs,
    opened.outputs.map(({ name }) => ({ name, value: null })),
  );
}

const openAny = () => openModel({ runtime: options.runtime, path: options.model, intraThreads: 2 });

const open = () => openDecoder({ ...options, threads: 2 });
const resident = () => Math.round(process.memoryUsage().rss / 2 ** 20);

const WAYS = {
  // There is no memory left for a copy of the tokens.
  async memory() {
    const decoder = await open();
    const tokens = new BigInt64Array(2 ** 28);
    const used = Number(/VmSize:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
    execFileSync('prlimit', ['--pid', String(process.pid), `--as=${used + 2 ** 30}`], {
      stdio: 'ignore',
    });
    const failure = await (async () => decoder.feed(tokens))().catch((error) => error);
    console.log(failure.message);
    process.exit(7);
  },
  async exit() {
    void generate(await open(), 900, () => process.exit(7));
  },
  async throw() {
    void generate(await open(), 900, () => {
      throw new Error('a callback failed');
    });
  },
  // Nobody waits for it, and the process does.
  async unawaited() {
    void generate(await open(), 60).then((reasons) => console.log(reasons.join()));
  },
  async opening() {
    void open();
    setImmediate(() => process.exit(7));
  },
  async signal() {
    process.on('SIGTERM', () => process.exit(7));
    void generate(await open(), 900, () => process.kill(process.pid, 'SIGTERM'));
  },
  // Two threads of Node, each in the middle of a text, are stopped; the main one goes on.
  async terminate() {
    const source = `
      const { workerData, parentPort } = require('node:worker_threads');
      require(workerData.addon).openDecoder(workerData.options).then((decoder) => {
        let made = 0;
        const request = { prompts: [BigInt64Array.of(1n)], seeds: new Uint32Array(2), eos: new BigInt64Array(0), maxTokens: 900 };
        decoder.generate(request, () => { if (++made === 20) parentPort.postMessage('middle'); });
      });`;
    const workers = [1, 2].map(() => new Worker(source, { eval: true, workerData: { addon, options } }));
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
    await Promise.all(workers.map((worker) => worker.terminate()));
    console.log((await generate(await open(), 60)).join());
  },
  // Decoders that are forgotten are freed when their objects are.
  async forgotten() {
    const series = [];
    for (let i = 0; i < 60; i++) {
      await generate(await open(), 30);
      globalThis.gc();
      // Finalizers run in a later turn.
      await new Promise((resolve) => setTimeout(resolve, 5));
      series.push(resident());
    }
    console.log(JSON.stringify(series));
  },
  // Two texts of 10,000 tokens; resident memory at every thousandth of each.
  async long() {
    const series = [];
    let made = 0;
    const request = {
      prompts: [BigInt64Array.of(1n)],
      seeds: new Uint32Array(2),
      eos: new BigInt64Array(0),
      maxTokens: 10_000,
    };
    const decoder = await open();
    for (let text = 0; text < 2; text++)
      await decoder.generate({ ...request, temperature: 1 }, () => {
        if (++made % 1000 !== 0) return;
        globalThis.gc();
        series.push(resident());
      });
    console.log(JSON.stringify(series));
  },
  async modelExit() {
    void runModel(await openAny(), 1000);
    setTimeout(() => process.exit(7), 5);
  },
  async models() {
    const series = [];
    for (let i = 0; i < 60; i++) {
      const opened = await openAny();
      const run = runModel(opened, 64);
      // Every other is disposed of in the middle; results of the others outlive their model.
      if (i % 2 === 1) await opened.dispose();
      const results = await run.catch(() => []);
      await opened.dispose();
      for (const result of results) new Uint8Array(result.buffer()).fill(1);
      globalThis.gc();
      await new Promise((resolve) => setTimeout(resolve, 5));
      series.push(resident());
    }
    console.log(JSON.stringify(series));
  },
  async cycles() {
    const series = [];
    for (let i = 0; i < 120; i++) {
      const decoder = await open();
      // Every third is cancelled, every third disposed of in the middle of its text, the others end by themselves.
      const end = [() => decoder.cancel(), () => decoder.dispose(), () => {}][i % 3];
      await generate(decoder, 40, end).catch(() => {});
      await decoder.dispose();
      globalThis.gc();
      series.push(resident());
    }
    console.log(JSON.stringify(series));
  },
};

await WAYS[how]();
