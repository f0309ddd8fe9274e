/** The sound inputs from which all others are made: small, of every kind, made by the commands themselves. */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { writeSafetensors } from '../../formats/safetensors/index.ts';
import { elementCount } from '../../src/core/dtype.ts';
import { float32Tensor, type TensorExpr } from '../../src/core/tensor.ts';
import { folderData, SEARCH } from '../../src/report/testing/data.ts';
import { createRandom } from '../harness/random.ts';
import { lacuna } from './command.ts';

/** A LLaMA that converts in milliseconds. Its layers are wide enough for every block size. */
const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  bos_token_id: 0,
  eos_token_id: [0, 2],
  head_dim: 8,
  hidden_act: 'silu',
  hidden_size: 32,
  intermediate_size: 64,
  max_position_embeddings: 1024,
  mlp_bias: false,
  model_type: 'llama',
  num_attention_heads: 4,
  num_hidden_layers: 2,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-5,
  rope_scaling: {
    rope_type: 'llama3',
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 64,
  },
  rope_theta: 10000,
  tie_word_embeddings: true,
  vocab_size: 300,
};

/** Gemma 3 has what LLaMA lacks: norms around blocks, windows, two rotary tables. */
const GEMMA = {
  ...CONFIG,
  architectures: ['Gemma3ForCausalLM'],
  hidden_act: undefined,
  hidden_activation: 'gelu_pytorch_tanh',
  layer_types: ['sliding_attention', 'full_attention'],
  mlp_bias: undefined,
  model_type: 'gemma3_text',
  query_pre_attn_scalar: 8,
  rope_local_base_freq: 10000,
  rope_scaling: null,
  sliding_window: 16,
};

/** Makes all of them in `folder`, one folder for each kind. `fixtures` is the repository's. */
export async function makeSeeds(folder: string, fixtures: string): Promise<void> {
  const at = (...names: string[]) => join(folder, ...names);
  await makeCheckpoint(at('checkpoint'), fixtures);
  await writeCheckpoint(at('gemma'), GEMMA, fixtures);
  await writeShards(at('shards'), at('checkpoint'));
  await writeAdapter(at('adapter'));
  copyInto(at('gguf'), join(fixtures, 'gguf/quantised.gguf'));
  copyInto(at('gguf-positions'), join(fixtures, 'gguf/llama3.gguf'));
  copyInto(at('gguf-biases'), join(fixtures, 'gguf/attention-bias.gguf'));
  copyInto(at('expectations'), join(fixtures, 'tiny-llama/lacuna-expectations.safetensors'));
  const text = readFileSync(join(fixtures, '../texts/fit.txt'), 'utf8').slice(0, 20_000);
  writeFileSync(at('text.txt'), text);
  writeTexts(at('texts'), text.slice(0, 3000));
  const small = ['--data', at('text.txt'), '--threads', '1', '--quiet'];
  for (const kind of ['statistics', 'shard', 'other-shard', 'plan', 'plan-skip', 'plan-replace', 'plan-auto'])
    mkdirSync(at(kind));
  await lacuna(['convert', at('checkpoint'), '-o', at('folder'), '--dtype', 'fp32,int4', '--quiet']);
  await lacuna(['calibrate', at('checkpoint'), '-o', at('statistics', 'statistics.json'), ...small]);
  for (const [i, name] of ['shard', 'other-shard'].entries())
    await lacuna(['calibrate', at('checkpoint'), '-o', at(name, 'statistics.json'), '--shard', `${i}/2`, ...small]);
  const plan = ['plan', at('statistics', 'statistics.json'), '-o'];
  await lacuna([...plan, at('plan', 'plan.json'), '--preset', 'top-k', '--keep', '0.3']);
  await lacuna([...plan, at('plan-skip', 'plan.json'), '--preset', 'ffn-skip', '--cold-start', '0', '--cold-end', '2']);
  await makeReplacedPlan(at('plan-replace', 'plan.json'), at('checkpoint'), small);
  writePlanOfMix(at('plan-auto', 'plan.json'), at('plan', 'plan.json'));
  await lacuna(['sparsify', at('folder'), '--plan', at('plan', 'plan.json'), '-o', at('sparse'), '--quiet']);
  writeFigures(at('report'), at('sparse', 'lacuna.json'), at('statistics'));
}

/** A plan whose blocks have maps and gates beside them, from statistics that are not left. */
async function makeReplacedPlan(path: string, checkpoint: string, small: readonly string[]): Promise<void> {
  const statistics = `${path}.statistics`;
  mkdirSync(statistics);
  const measured = join(statistics, 'statistics.json');
  await lacuna(['calibrate', checkpoint, '-o', measured, '--with', 'ffn-moments', 'ffn-effect', ...small]);
  await lacuna(['plan', measured, '-o', path, '--preset', 'replace', '--bytes', '0.9']);
  rmSync(statistics, { recursive: true });
}

/** What a page is made of: a manifest, and figures of every kind. No model is read. */
function writeFigures(folder: string, manifest: string, statistics: string): void {
  const proof = join(folder, 'lacuna');
  copyInto(folder, manifest);
  cpSync(statistics, proof, { recursive: true });
  const { evaluation, bench, search, sample } = folderData({ search: SEARCH });
  const figures = { evaluation, bench, auto: search, sample };
  for (const [name, content] of Object.entries(figures))
    writeFileSync(join(proof, `${name}.json`), JSON.stringify(content));
}

/** The plan of another, in which every block has a precision of its own and nothing is left out. */
function writePlanOfMix(path: string, other: string): void {
  const { blocks: _, ...plan } = JSON.parse(readFileSync(other, 'utf8'));
  const dtypes = ['int8', 'int5', 'int4', 'int6'];
  const blocks = ['layers.0.attention', 'layers.0.ffn', 'layers.1.attention', 'layers.1.ffn'].map((block, at) => {
    return { block, dtype: dtypes[at], expected: { bytesPerToken: 1000, kl: 0.001 }, why: 'made up' };
  });
  const host = { kind: 'native', dtype: 'int4' };
  const mixed = {
    ...plan,
    preset: 'auto',
    host,
    target: null,
    budget: 'ppl<=1.02',
    tensors: null,
    skipping: null,
    blocks,
  };
  writeFileSync(path, JSON.stringify(mixed));
}

/** The small LLaMA with its tokenizer, as a Hugging Face folder. */
export function makeCheckpoint(folder: string, fixtures: string): Promise<void> {
  return writeCheckpoint(folder, CONFIG, fixtures);
}

function copyInto(folder: string, path: string): void {
  cpSync(path, join(folder, basename(path)));
}

async function writeCheckpoint(folder: string, config: typeof CONFIG | typeof GEMMA, fixtures: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'generation_config.json'), JSON.stringify({ eos_token_id: [0, 2], temperature: 0.7 }));
  writeTokenizer(folder, fixtures);
  await writeTensors(join(folder, 'model.safetensors'), shapesOf(config));
}

type Shapes = Readonly<Record<string, readonly number[]>>;

function shapesOf(config: typeof CONFIG | typeof GEMMA): Shapes {
  const { hidden_size: hidden, intermediate_size: ffn, head_dim: head, vocab_size: vocabulary } = config;
  const [queries, keys] = [config.num_attention_heads * head, config.num_key_value_heads * head];
  const layer = {
    input_layernorm: [hidden],
    post_attention_layernorm: [hidden],
    ...(config.model_type !== 'llama' && {
      pre_feedforward_layernorm: [hidden],
      post_feedforward_layernorm: [hidden],
      'self_attn.q_norm': [head],
      'self_attn.k_norm': [head],
    }),
    'self_attn.q_proj': [queries, hidden],
    'self_attn.k_proj': [keys, hidden],
    'self_attn.v_proj': [keys, hidden],
    'self_attn.o_proj': [hidden, queries],
    'mlp.gate_proj': [ffn, hidden],
    'mlp.up_proj': [ffn, hidden],
    'mlp.down_proj': [hidden, ffn],
  };
  const outside = { 'model.embed_tokens.weight': [vocabulary, hidden], 'model.norm.weight': [hidden] };
  return { ...outside, ...inLayers('model.layers', layer) };
}

/** The tensors of a layer, of both layers. */
function inLayers(prefix: string, layer: Shapes): Shapes {
  const shapes = [0, 1].flatMap((i) =>
    Object.entries(layer).map(([name, shape]) => [`${prefix}.${i}.${name}.weight`, shape] as const),
  );
  return Object.fromEntries(shapes);
}

async function writeTensors(path: string, shapes: Shapes): Promise<void> {
  await writeSafetensors(
    path,
    Object.entries(shapes).map(([name, shape], i) => ({ name, data: noise(shape, i) })),
  );
}

/** Small numbers around 0.1, which keep norms and products in range. */
function noise(shape: readonly number[], seed: number): TensorExpr {
  const random = createRandom(seed);
  const values = Float32Array.from({ length: elementCount(shape) }, () => (random.int(2000) - 900) / 4000);
  return float32Tensor(values, shape);
}

/** The same model in two files and an index. */
async function writeShards(folder: string, whole: string): Promise<void> {
  cpSync(whole, folder, { recursive: true, filter: (path) => !path.endsWith('model.safetensors') });
  const entries = Object.entries(shapesOf(CONFIG));
  const weightMap: Record<string, string> = {};
  for (const shard of [0, 1]) {
    const name = `model-0000${shard + 1}-of-00002.safetensors`;
    const own = entries.filter((_, i) => i % 2 === shard);
    for (const [tensor] of own) weightMap[tensor] = name;
    await writeTensors(join(folder, name), Object.fromEntries(own));
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: weightMap }));
}

async function writeAdapter(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: 'base',
    bias: 'none',
    fan_in_fan_out: false,
    lora_alpha: 4,
    lora_dropout: 0,
    r: 2,
    target_modules: ['q_proj', 'down_proj'],
    use_rslora: false,
    rank_pattern: {},
    alpha_pattern: {},
  };
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config));
  const shapes = inLayers('base_model.model.model.layers', {
    'self_attn.q_proj.lora_A': [2, 32],
    'self_attn.q_proj.lora_B': [32, 2],
    'mlp.down_proj.lora_A': [2, 64],
    'mlp.down_proj.lora_B': [32, 2],
  });
  await writeTensors(join(folder, 'adapter_model.safetensors'), shapes);
}

/** The tokenizer of fixtures/tiny-llama with its first pieces only: the bytes and a few pairs of them. */
function writeTokenizer(folder: string, fixtures: string): void {
  const source = join(fixtures, 'tiny-llama');
  const json = JSON.parse(readFileSync(join(source, 'tokenizer.json'), 'utf8'));
  const size = CONFIG.vocab_size;
  json.model.merges.length = size - Object.entries(json.model.vocab).findIndex(([piece]) => piece === 'ĠĠ');
  json.model.vocab = Object.fromEntries(Object.entries(json.model.vocab).slice(0, size));
  json.pre_tokenizer = {
    type: 'Sequence',
    pretokenizers: [
      {
        type: 'Split',
        pattern: {
          Regex: "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|\\s+",
        },
        behavior: 'Isolated',
        invert: false,
      },
      { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    ],
  };
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
  copyInto(folder, join(source, 'tokenizer_config.json'));
}

function writeTexts(folder: string, text: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'text.txt'), text);
  const rows = [
    { text: text.slice(0, 500) },
    { prompt: 'Once upon', completion: ' a time' },
    {
      messages: [
        { role: 'user', content: 'Hello' },
        { role: 'assistant', content: 'Good day' },
      ],
    },
  ];
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
}
