/** A model that is opened once and writes many texts, by each engine that is here. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { convert, type Model, open, run } from '../src/index.ts';
import { nativeLib } from './native-lib.ts';
import { required } from './real/real-model.ts';
import { temporaryFolder, tinyLlama } from './temporary.ts';

const folder = join(temporaryFolder(), 'dense');
const hasNative = required || existsSync(join(nativeLib, 'lacuna_node.node'));
const PROMPT = 'In the beginning';
const SHORT = { maxTokens: 6 };
/** Longer than anybody waits, in a context of 1024. */
const LONG = { maxTokens: 900, ignoreEos: true };

beforeAll(async () => {
  await convert({ checkpoint: tinyLlama, output: folder });
}, 60_000);

const interrupted = (message: string) => ({ name: 'LacunaError', code: 'interrupted', message });
const closed = { name: 'LacunaError', code: 'usage', message: `The model of ${folder} is closed` };

describe.each(hasNative ? (['stock', 'native'] as const) : (['stock'] as const))('a model in %s', (engine) => {
  let model: Model;
  const openIt = () => open(folder, { engine, threads: 1 });

  beforeAll(async () => {
    model = await openIt();
  });
  afterAll(() => model.close());

  it('says what it is', () => {
    expect(model).toMatchObject({ folder, engine, precision: 'fp32', spec: { vocabSize: 2048 } });
  });

  it('makes the texts that run makes, one after another', async () => {
    const { engine: by, ...once } = await run({ folder, prompt: PROMPT, engine, threads: 1, ...SHORT });
    expect(by).toBe(engine);
    for (let again = 0; again < 2; again++) {
      const { text, tokens, promptTokens, stopped } = await model.generate(PROMPT, SHORT);
      expect({ text, tokens, promptTokens, stopped }).toEqual({
        text: once.text,
        tokens: once.tokens,
        promptTokens: model.tokens(PROMPT),
        stopped: 'length',
      });
    }
  });

  it('streams the text in pieces, and returns what generate does', async () => {
    const { text, tokens } = await model.generate(PROMPT, SHORT);
    const stream = model.stream(PROMPT, SHORT);
    const pieces: string[] = [];
    let next = await stream.next();
    for (; !next.done; next = await stream.next()) pieces.push(next.value);
    expect(pieces.length).toBeGreaterThan(1);
    expect(pieces.join('')).toBe(text);
    expect(next.value).toMatchObject({ text, tokens });
  });

  it('stops writing when its reader does, and goes on with the next text', async () => {
    const whole = await model.generate(PROMPT, SHORT);
    for await (const piece of model.stream(PROMPT, LONG)) {
      expect(whole.text.startsWith(piece)).toBe(true);
      break;
    }
    expect(await model.generate(PROMPT, SHORT)).toMatchObject({ text: whole.text });
  });

  it('lets calls wait for each other, in their order', async () => {
    const ended: string[] = [];
    const ask = async (prompt: string, maxTokens: number) => {
      const { text } = await model.generate(prompt, { maxTokens });
      ended.push(prompt);
      return text;
    };
    const together = await Promise.all([ask(PROMPT, 12), ask('Once', 1), ask('There', 2)]);
    expect(ended).toEqual([PROMPT, 'Once', 'There']);
    expect(together).toEqual([await ask(PROMPT, 12), await ask('Once', 1), await ask('There', 2)]);
  });

  it('continues several prompts at once', async () => {
    const prompts = [PROMPT, 'Once'];
    const { rows } = await model.generateAll(prompts, SHORT);
    const alone = [await model.generate(prompts[0], SHORT), await model.generate(prompts[1], SHORT)];
    expect(rows.map(({ tokens }) => tokens)).toEqual(alone.map(({ tokens }) => tokens));
    expect(rows.map(({ text }) => text)).toEqual(alone.map(({ text }) => text));
  });

  it('answers a conversation through the chat template', async () => {
    const chat = await model.generate([{ role: 'user', content: 'Hello' }], SHORT);
    const once = await run({ folder, prompt: 'Hello', chat: true, engine, threads: 1, ...SHORT });
    expect(chat.promptTokens).toEqual(once.promptTokens);
    expect(chat.tokens).toEqual(once.tokens);
    expect(chat.promptTokens).not.toEqual(model.tokens('Hello'));
  });

  it('turns text into tokens and back', () => {
    expect(model.text(model.tokens('Hello there'))).toBe('Hello there');
  });

  it('samples where it is asked to, and takes the likeliest token at temperature 0', async () => {
    const [greedy, cold, drawn, repeated] = [
      await model.generate(PROMPT, SHORT),
      await model.generate(PROMPT, { ...SHORT, temperature: 0, topK: 40, seed: 3 }),
      await model.generate(PROMPT, { ...SHORT, topK: 40, seed: 3 }),
      await model.generate(PROMPT, { ...SHORT, topK: 40, seed: 3, temperature: 1 }),
    ];
    expect(cold.tokens).toEqual(greedy.tokens);
    expect(drawn.tokens).not.toEqual(greedy.tokens);
    expect(drawn.tokens).toEqual(repeated.tokens);
  });

  it('ends at a signal, running or waiting, and those behind go on', async () => {
    const [running, waiting] = [new AbortController(), new AbortController()];
    const first = model.generate('Once', { ...LONG, signal: running.signal });
    const second = model.generate('Once', { ...SHORT, signal: waiting.signal });
    const third = model.generate('Once', SHORT);
    waiting.abort();
    await expect(second).rejects.toMatchObject(interrupted('Stopped.'));
    running.abort();
    await expect(first).rejects.toMatchObject(interrupted('Stopped.'));
    expect((await third).tokens).toHaveLength(6);
    await expect(model.generate('Once', { signal: running.signal })).rejects.toMatchObject(interrupted('Stopped.'));
  });

  it('ends what runs, what waits and what nobody reads when it is closed, and then refuses everything', async () => {
    const other = await openIt();
    const unread = other.stream('Once', LONG);
    await unread.next();
    const waiting = other.generate('Once', SHORT);
    const both = Promise.all([other.close(), other.close()]);
    await expect(waiting).rejects.toMatchObject(interrupted('The model was closed'));
    await both;
    await expect(unread.next()).rejects.toMatchObject(interrupted('The model was closed'));
    await expect(other.generate('Once')).rejects.toMatchObject(closed);
    await expect(other.generateAll(['Once'])).rejects.toMatchObject(closed);
    for (const use of [() => other.stream('Once'), () => other.tokens('Once'), () => other.text([1])])
      expect(use).toThrow(expect.objectContaining(closed));
    const running = await openIt();
    const made = running.generate('Once', LONG);
    await running[Symbol.asyncDispose]();
    await expect(made).rejects.toMatchObject(interrupted('The model was closed'));
  });

  it('names an argument that is wrong', async () => {
    const wrong: readonly [readonly unknown[], string][] = [
      [[], 'Expected a string for prompt but received undefined'],
      [[[]], 'Expected a list that is not empty for prompt but received an empty list'],
      [[[{ role: 'user' }]], 'Expected a string for prompt[0].content but received undefined'],
      [['x', null], 'Expected an object for the options of a generation but received null'],
      [['x', { maxTokens: '5' }], 'Expected a whole number for maxTokens but received "5"'],
      [['x', { temprature: 1 }], 'a generation takes no temprature: did you mean temperature?'],
      [['x', { topP: 2 }], 'Expected a number of at most 1 for topP but received 2'],
    ];
    const generate: (...args: readonly never[]) => Promise<unknown> = model.generate;
    for (const [args, message] of wrong)
      await expect(generate(...(args as readonly never[]))).rejects.toMatchObject({ code: 'usage', message });
    expect(() => model.text([2048])).toThrow('Expected a number below 2048 for tokens[0] but received 2048');
  });
});
