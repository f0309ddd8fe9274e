/** Options of `plan` and `build` that say what to leave out, derived from the presets themselves. */
import { type Command, Option } from 'commander';
import * as z from 'zod';
import { LacunaError } from '../core/errors.ts';
import { hostNamed } from '../core/plan.ts';
import { type PlanOptions, PRESET_WORDS, type PrecisionName, type PresetWords } from '../index.ts';
import { layerList, numberOf, share } from './parse.ts';

/** As commander reads them, with a preset's own options under their names. */
export interface PresetOptions {
  readonly preset: PlanOptions['preset'];
  readonly target?: number;
  readonly prefill?: 'sparse' | 'dense';
  readonly host?: 'native' | 'stock';
  /** How the weights will be stored. The plan's host depends on it. */
  readonly dtype?: PrecisionName;
}

/** `usualHost` describes the default host, `withoutPreset` what is done without a preset, if one need not be given. */
export function withPresetOptions(command: Command, usualHost: string, withoutPreset?: string): Command {
  const names = PRESET_WORDS.map(({ name }) => name);
  const prefills = PRESET_WORDS.map(({ name, prefill }) => `${name}: ${prefill}`);
  const targets = PRESET_WORDS.map(({ name, target }) => `${name}: ${target.description} (default ${target.usual})`);
  command
    .addOption(
      new Option(
        '--preset <name>',
        `what to leave out${withoutPreset === undefined ? '' : `; without it, ${withoutPreset}`}`,
      )
        .choices(names)
        .makeOptionMandatory(withoutPreset === undefined),
    )
    .option('--target <share>', targets.join('; '), share)
    .addOption(
      new Option(
        '--prefill <how>',
        `how calls with several tokens run, as prompts are read (default ${prefills.join('; ')})`,
      ).choices(['sparse', 'dense']),
    )
    .addOption(
      new Option(
        '--host <name>',
        `where the plan must pay: in the native kernels, or in stock ONNX Runtime without them (default: ${usualHost})`,
      ).choices(['native', 'stock']),
    );
  for (const { option } of presetFlags()) command.addOption(option);
  return command;
}

/** Options that --target does not set, one for each name, and the presets that take it: the first describes it. */
function presetFlags() {
  const names = PRESET_WORDS.flatMap(({ options, target }) =>
    Object.keys(options).filter((name) => name !== target.option),
  );
  return [...new Set(names)].map((name) => {
    const presets = PRESET_WORDS.filter(({ options }) => Object.hasOwn(options, name));
    const takers = presets.map((preset) => preset.name);
    return { name, takers, option: optionOf(name, presets[0].options[name], takers.join(', ')) };
  });
}

function optionOf(name: string, schema: PresetWords['options'][string], takers: string): Option {
  const words = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const { title, description } = schema.meta() ?? {};
  const said = `${takers}: ${description}`;
  const choices = choicesOf(schema);
  if (choices !== undefined) {
    const usual = schema.safeParse(undefined).data;
    return new Option(`--${words} <${title}>`, `${said}${usual === undefined ? '' : ` (default ${usual})`}`).choices(
      choices,
    );
  }
  if (schema.safeParse([0]).success) return new Option(`--${words} <${title}>`, said).argParser(layerList);
  if (!schema.safeParse(true).success) return new Option(`--${words} <${title}>`, said).argParser(numberOf(schema));
  return new Option(schema.safeParse(undefined).data === true ? `--no-${words}` : `--${words}`, said);
}

/** The words that an option may be, where it is none of numbers and flags. */
function choicesOf(schema: PresetWords['options'][string]): readonly string[] | undefined {
  return z.toJSONSchema(schema).enum?.filter((choice) => typeof choice === 'string');
}

/** The options of presets that are given, as they are written. */
export function givenPresetFlags(given: Readonly<Record<string, unknown>>): string[] {
  const flags = presetFlags().filter(({ name, option }) => given[name] !== (option.negate || undefined));
  return flags.map(({ option: { long } }) => long ?? '');
}

/** The options of the chosen preset. Throws `usage` when an option of another is given: it would have no effect. */
export function planOptions({ preset, target, prefill, host, dtype, ...given }: PresetOptions): PlanOptions {
  const values: Readonly<Record<string, unknown>> = given;
  const flags = presetFlags();
  const foreign = flags.filter(
    ({ name, option, takers }) => !takers.includes(preset) && values[name] !== (option.negate || undefined),
  );
  if (foreign.length > 0) {
    const takers = [...new Set(foreign.flatMap((flag) => flag.takers))].join(', ');
    const said = foreign.map(({ option }) => option.long).join(', ');
    throw new LacunaError('usage', `${said}: only the preset ${takers} takes this, not ${preset}`, {
      hint: `Leave it out, or use --preset ${takers}.`,
    });
  }
  const own = flags.filter(({ takers }) => takers.includes(preset)).map(({ name }) => [name, values[name]]);
  const stated = PRESET_WORDS.filter(({ name }) => name === preset).map((words) => [words.target.option, target]);
  const common = { preset, prefill, host: host && hostNamed(host, dtype) };
  // The options of a preset follow from its name alone. The compiler cannot check that.
  return { ...common, ...Object.fromEntries([...stated, ...own]) } as PlanOptions;
}
