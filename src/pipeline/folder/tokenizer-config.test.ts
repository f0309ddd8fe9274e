import { describe, expect, it } from 'vitest';
import { portableTokenizerConfig } from './tokenizer-config.ts';

const INPUTS = { model_input_names: ['input_ids', 'attention_mask'] };

describe('portableTokenizerConfig', () => {
  it('takes the template in, unless there is one', () => {
    expect(portableTokenizerConfig({}, 'jinja')).toEqual({ ...INPUTS, chat_template: 'jinja' });
    expect(portableTokenizerConfig({ chat_template: 'own' }, 'jinja')).toEqual({ ...INPUTS, chat_template: 'own' });
    expect(portableTokenizerConfig({}, undefined)).toEqual(INPUTS);
  });

  it('leaves a tokenizer its own inputs', () => {
    expect(portableTokenizerConfig({ model_input_names: ['input_ids'] }, undefined)).toEqual({
      model_input_names: ['input_ids'],
    });
  });

  it('writes what Transformers 5 wrote as Transformers 4 did', () => {
    expect(
      portableTokenizerConfig({ tokenizer_class: 'TokenizersBackend', extra_special_tokens: ['<a>'] }, undefined),
    ).toEqual({ ...INPUTS, tokenizer_class: 'PreTrainedTokenizerFast', additional_special_tokens: ['<a>'] });
  });

  it('changes nothing else', () => {
    const config = { ...INPUTS, tokenizer_class: 'GPT2Tokenizer', extra_special_tokens: { image: '<i>' }, x: null };
    expect(portableTokenizerConfig(config, undefined)).toEqual(config);
  });
});
