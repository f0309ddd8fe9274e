/** Options of `plan` and `build` that say what to leave out, derived from the presets themselves. */
import { type Command, Option } from 'commander';
import * as z from 'zod';
import { LacunaError } from '../core/errors.ts';
import { hostNamed } from '../core/plan.ts';
import { TARGETS } from '../core/target.ts';
import { type PlanOptions, PRESET_WORDS, type PrecisionName, type PresetWords } from '../index.ts';
import { layerList, numberOf, share } from './parse.ts';

/** As commander reads them, with a preset's own options under their names. */
export interface PresetOptions {
  readonly preset: PlanOptions['preset'];
  readonly prefill?: 'sparse' | 'dense';
  readonly host?: 'native' | 'stock';
  /** How the weights will be stored. The plan's host depends on it. */
  readonly dtype?: PrecisionName;
}

/** `usualHost` describes the default host, `withoutPreset` what is done without a preset, if one need not be given. */
export function withPresetOptions(command: Command, usualHost: string, withoutPreset?: string): Command {
  const names = PRESET_WORDS.map(({ name }) => name);
  const prefills = PRESET_WORDS.map(({ name, prefill }) => `${name}: ${prefill}`);
  command
    .addOption(
      new Option(
        '--preset <name>',
        `what to leave out${withoutPreset === undefined ? '' : `; without it, ${withoutPreset}`}`,
      )
        .choices(names)
        .makeOptionMandatory(withoutPreset === undefined),
    )
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

/** Options of presets, one for each name, and the presets that take it. */
function presetFlags() {
  const names = PRESET_WORDS.flatMap(({ options }) => Object.keys(options));
  return [...new Set(names)].map((name) => {
    const presets = PRESET_WORDS.filter(({ options }) => Object.hasOwn(options, name));
    return { name, takers: presets.map((preset) => preset.name), option: optionOf(name, presets) };
  });
}

/** The name of an option as its flag has it: `coldStart` is `cold-start`. */
export function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** An option that several presets take is described by the first of them; the share that they aim at, by each. */
function optionOf(name: string, presets: readonly PresetWords[]): Option {
  const words = dashed(name);
  const [{ options, target }] = presets;
  const { [name]: schema } = options;
  const { title, description } = schema.meta() ?? {};
  if (name === TARGETS[target.kind].option) {
    const said = presets.map(
      (one) => `${one.name}: ${one.options[name].meta()?.description} (default ${one.target.usual})`,
    );
    return new Option(`--${words} <${title}>`, said.join('; ')).argParser(share);
  }
  const said = `${presets.map((preset) => preset.name).join(', ')}: ${description}`;
  const { data: usual } = schema.safeParse(undefined);
  if (schema.safeParse(true).success) return new Option(usual === true ? `--no-${words}` : `--${words}`, said);
  const option = new Option(`--${words} <${title}>`, usual === undefined ? said : `${said} (default ${usual})`);
  if (schema.safeParse([0]).success) return option.argParser(layerList);
  const choices = choicesOf(schema);
  return choices === undefined ? option.argParser(numberOf(schema)) : option.choices(choices);
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
export function planOptions({ preset, prefill, host, dtype, ...given }: PresetOptions): PlanOptions {
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
  const common = { preset, prefill, host: host && hostNamed(host, dtype) };
  // The options of a preset follow from its name alone. The compiler cannot check that.
  return { ...common, ...Object.fromEntries(own) } as PlanOptions;
}
