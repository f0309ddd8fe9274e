/** What a user can get wrong with the native core: each is a clear error, and the process goes on. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeOnnx } from '../../formats/onnx/index.ts';
import { type Attribute, attr } from '../../src/core/graph.ts';
import type { RuntimeTensor } from '../../src/core/runner.ts';
import { convert } from '../../src/index.ts';
import {
  ffnSkipStepBody,
  ffnSkipStepNode,
  gatedFfnBody,
  gatedFfnNode,
  statisticalTopKBody,
  statisticalTopKNode,
} from '../../src/ops/index.ts';
import { openNativeSession } from '../../src/runtime/index.ts';
import { runtimeLibrary } from '../../src/runtime/native-addon.ts';
import { type Declared, declaringDecoder } from '../bigram-decoder.ts';
import { variantOf } from '../gated-ffn-block.ts';
import { nativeLib } from '../native-lib.ts';
import { required } from '../real/real-model.ts';
import { calling, floats, type OneNode, oneNodeGraph } from '../run-body.ts';
import { temporaryFolder, tinyLlama } from '../temporary.ts';

const addon = join(nativeLib, 'lacuna_node.node');
const operators = join(nativeLib, 'liblacuna_ort.so');
const runtime = await runtimeLibrary();
const folder = temporaryFolder();
const hasCompiler = required || spawnSync('cc', ['--version']).status === 0;

/** The same library as for a machine that there is none of: `e_machine` of the ELF header is at byte 18. */
function ofAnotherMachine(file: string, name: string): string {
  const bytes = readFileSync(file);
  bytes.writeUInt16LE(process.arch === 'x64' ? 183 : 62, 18);
  const copy = join(folder, name);
  writeFileSync(copy, bytes);
  return copy;
}

function compiled(name: string, source: string, ...flags: string[]): string {
  const file = join(folder, `${name}.so`);
  execFileSync('cc', ['-shared', '-fPIC', '-x', 'c', '-', '-o', file, ...flags], { input: source });
  return file;
}

describe.skipIf(!required && !existsSync(addon))('the native core refuses', { timeout: 120_000 }, () => {
  const dense = join(folder, 'dense');
  const model = join(dense, 'onnx/model.onnx');
  // A suite that is left out is read all the same.
  const openDecoder = (...given: unknown[]) => createRequire(import.meta.url)(addon).openDecoder(...given);
  beforeAll(async () => {
    await convert({ checkpoint: tinyLlama, output: dense });
    await import('../../src/backend.ts');
  }, 120_000);

  it('libraries of another machine', async () => {
    const machine = (file: string) =>
      new RegExp(`${file}.*it is built for (x64|arm64), and this is ${process.arch}; install Lacuna again`);
    await expect(openNativeSession(dense, { addon: ofAnotherMachine(addon, 'other.node') })).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(machine('other\\.node')),
    });
    const other = ofAnotherMachine(operators, 'other.so');
    await expect(openNativeSession(dense, { addon, operators: other })).rejects.toThrow(machine('other\\.so'));
    await expect(openDecoder({ runtime: ofAnotherMachine(runtime, 'ort.so'), model })).rejects.toThrow(
      /cannot load ONNX Runtime: .*ort\.so/,
    );
  });

  it('libraries that lack what they should have', async () => {
    await expect(openNativeSession(dense, { addon, operators: addon })).rejects.toThrow(
      /RegisterCustomOps.*undefined symbol|undefined symbol.*RegisterCustomOps/,
    );
    await expect(openDecoder({ runtime: operators, model })).rejects.toThrow(
      /is no ONNX Runtime: it has no OrtGetApiBase/,
    );
  });

  it.runIf(hasCompiler)('libraries with a symbol that nobody has, and a runtime that is too old', async () => {
    const broken = compiled('broken', 'void nobody_has_this(void); void* RegisterCustomOps = nobody_has_this;');
    await expect(openNativeSession(dense, { addon, operators: broken })).rejects.toThrow(
      /undefined symbol: nobody_has_this/,
    );
    // As far as version 15 of the interface goes: GetApi, then GetVersionString.
    const old = compiled(
      'old',
      `static const void* get_api(unsigned version) { return version <= 15 ? get_api : 0; }
       static const char* get_version(void) { return "1.15.1"; }
       static const void* base[] = { get_api, get_version };
       const void* OrtGetApiBase(void) { return base; }`,
    );
    await expect(openDecoder({ runtime: old, model })).rejects.toThrow(
      /ONNX Runtime 1\.15\.1 is too old: version 1\.18 of its interface is needed/,
    );
  });

  it.runIf(hasCompiler)('to register operators in a runtime that is too old, which is told so', () => {
    // Its table of functions ends with the first, which makes a status; here, it prints it.
    const source = `
      #include <dlfcn.h>
      #include <stdio.h>
      static void* create_status(int code, const char* message) { puts(message); return (void*)1; }
      static const void* table[] = { create_status };
      static const void* get_api(unsigned version) { return version <= 16 ? table : 0; }
      static const char* get_version(void) { return "1.16.3"; }
      int main(int count, char** arguments) {
        const void* base[] = { get_api, get_version };
        void* library = dlopen(arguments[1], RTLD_NOW);
        if (library == 0) return puts(dlerror()), 2;
        void* (*register_operators)(void*, const void*) = dlsym(library, "RegisterCustomOps");
        return register_operators(0, base) == (void*)1 ? 0 : 1;
      }`;
    const program = join(folder, 'old-host');
    execFileSync('cc', ['-x', 'c', '-', '-o', program, '-ldl'], { input: source });
    expect(execFileSync(program, [operators], { encoding: 'utf8' })).toMatch(
      /ONNX Runtime 1\.16\.3 is too old for Lacuna's operators, which need 1\.17 or newer/,
    );
  });

  it('texts beyond the context, and caches beyond memory', async () => {
    const session = await openNativeSession(dense, { addon }, { threads: 1 });
    const tokens = Array.from({ length: 1025 }, (_, i) => i);
    await expect(session.step(tokens, session.emptyCache())).rejects.toMatchObject({
      code: 'usage',
      message: "The text is longer than the model's context",
    });
    const { cache } = await session.step(tokens.slice(0, 1024), session.emptyCache());
    await expect(session.step([1], cache)).rejects.toMatchObject({ code: 'usage' });
    await session.close();

    // As many heads of as many floats as are taken: 256 tokens take 256 GiB, twice.
    const hungry = await openNativeSession(await declaring({ heads: 4096, head: 65_536, vocab: 2 }), { addon });
    await expect(hungry.step([1], hungry.emptyCache())).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/out of memory: a cache of 256 tokens for 1 row\(s\) takes \d+ MiB/),
    });
    await hungry.close();
  });

  async function declaring(declared: Declared): Promise<string> {
    const file = join(folder, `declaring-${Object.values(declared).join('-')}.onnx`);
    await writeOnnx(declaringDecoder(declared), file);
    return file;
  }

  it('sizes that are declared and cannot be, before any memory is asked for', async () => {
    const small = { heads: 1, head: 1, vocab: 2 };
    for (const [sizes, problem] of [
      [
        { heads: 2 ** 40 },
        /heads of past_key_values\.0\.key: expected at most 4096 but the model declares 1099511627776/,
      ],
      [{ head: 2 ** 40 }, /entries a head of .*key: expected at most 65536 but the model declares 1099511627776/],
      [{ vocab: 2 ** 40 }, /words of its vocabulary: expected at most 16777216 but the model declares 1099511627776/],
      [{ vocab: 2 ** 53 - 1 }, /words of its vocabulary: .* declares 9007199254740991/],
    ] as const) {
      const model = await declaring({ ...small, ...sizes });
      await expect(openNativeSession(model, { addon })).rejects.toMatchObject({
        code: 'runtime',
        message: expect.stringMatching(problem),
      });
    }
  });

  describe('nodes of ours', () => {
    const sessions: ort.InferenceSession[] = [];
    afterAll(() => Promise.all(sessions.map((session) => session.release())));

    let count = 0;
    /** Opens a model of one node by kernel, and runs it on the feeds. */
    async function run(call: OneNode, feeds = call.feeds) {
      const file = join(folder, `node-${count++}.onnx`);
      await writeOnnx(oneNodeGraph(call), file);
      const session = await ort.InferenceSession.create(file, { executionProviders: ['lacuna'], logSeverityLevel: 4 });
      sessions.push(session);
      const tensors = Object.entries(feeds).map(([name, { dtype, dims, data }]) => [
        name,
        new ort.Tensor(dtype as 'float32', data as Float32Array, dims),
      ]);
      return session.run(Object.fromEntries(tensors));
    }

    /** The call with its attributes changed; one that is undefined is taken off. */
    const saying = (call: OneNode, changed: Readonly<Record<string, Attribute | undefined>>): OneNode => {
      const all = Object.entries({ ...call.node.attributes, ...changed });
      const attributes = Object.fromEntries(
        all.filter((entry): entry is [string, Attribute] => entry[1] !== undefined),
      );
      return { ...call, node: { ...call.node, attributes } };
    };
    const topK = (changed = {}, x: RuntimeTensor = floats([1, 2, 3, 4], [1, 1, 4])): OneNode => {
      const ports = { inputs: { x: 'x' }, outputs: { y: 'y' } };
      const call = calling(statisticalTopKBody('soft'), (opType) =>
        statisticalTopKNode({ node: 'node', opType, mode: 'soft', quantile: 1, ...ports }),
      );
      return saying({ ...call, feeds: { x }, outputs: { y: 'float32' } }, changed);
    };

    it('with an attribute that is missing, of another kind, or out of range', async () => {
      await expect(run(topK())).resolves.toBeDefined();
      await expect(run(topK({ quantile: undefined }))).rejects.toThrow(/StatisticalTopK_2_0 needs attribute quantile/);
      await expect(run(topK({ mode: attr.string('neither') }))).rejects.toThrow(
        /expected soft or hard for attribute mode but received "neither"/,
      );
      await expect(run(topK({ quantile: attr.string('one') }))).rejects.toThrow(/needs attribute quantile/);
      await expect(run(topK({ quantile: attr.float(Number.NaN) }))).rejects.toThrow(
        /StatisticalTopK_2_0: expected a finite number for attribute quantile but received -?nan/,
      );
      const ports = {
        inputs: { state: 'state', saturation: 'saturation', threshold: 'threshold' },
        outputs: { next_state: 'next' },
      };
      const step = (runLength: Attribute): OneNode => {
        const call = calling(ffnSkipStepBody(true), (opType) =>
          ffnSkipStepNode({ node: 'node', opType, runLength: 1, reArm: true, ...ports }),
        );
        const feeds = {
          state: { dtype: 'int32', dims: [1, 1], data: Int32Array.of(0) },
          saturation: floats([0.5], [1, 1]),
          threshold: floats([0.4], []),
        } as const;
        return saying({ ...call, feeds, outputs: { next: 'int32' } }, { run_length: runLength });
      };
      await expect(run(step(attr.int(3)))).resolves.toBeDefined();
      await expect(run(step(attr.int(-1)))).rejects.toThrow(
        /expected 0 to 2147483647 for attribute run_length but received -1/,
      );
    });

    it('with tensors of another type or shape', async () => {
      const x: RuntimeTensor = { dtype: 'float64', dims: [1, 1, 4], data: new Float64Array(4) };
      await expect(run(topK({}, x))).rejects.toThrow(/Type Error|type/i);

      const variant = variantOf(undefined);
      const [hidden, neurons] = [4, 6];
      const inputs = { x: 'x', gate: 'gate', up: 'up', down: 'down' };
      const ffn: OneNode = {
        ...calling(gatedFfnBody(variant), (opType) =>
          gatedFfnNode(variant, { node: 'node', opType, inputs, outputs: { y: 'y' }, sizes: { hidden, neurons } }),
        ),
        feeds: {
          x: floats(new Float32Array(hidden), [1, 1, hidden]),
          gate: floats(new Float32Array(neurons * hidden), [neurons, hidden]),
          up: floats(new Float32Array(neurons * hidden), [neurons, hidden]),
          down: floats(new Float32Array(neurons * hidden), [neurons, hidden]),
        },
        outputs: { y: 'float32' },
      };
      await expect(run(ffn)).resolves.toBeDefined();
      const down = floats(new Float32Array((neurons - 1) * hidden), [neurons - 1, hidden]);
      await expect(run({ ...ffn, feeds: { ...ffn.feeds, down } })).rejects.toThrow(
        /GatedFFN_2_0: expected \[6, 4\] for input down but received \[5, 4\]/,
      );
      await expect(run(saying(ffn, { storage: attr.string('bf16') }))).rejects.toThrow(
        /GatedFFN_2_0: input gate has not the type of storage bf16/,
      );
      const flat = floats(new Float32Array(hidden), [1, hidden]);
      await expect(run({ ...ffn, feeds: { ...ffn.feeds, x: flat } })).rejects.toThrow(
        /expected \[b, s, h\] for input x but received \[1, 4\]/,
      );
    });
  });
});
