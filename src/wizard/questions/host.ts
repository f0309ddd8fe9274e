import { type Asked, choice } from '../question.ts';
import { withAnswers } from '../state.ts';

/** Answered by itself where the native core is not installed (find.ts). */
export const host: Asked = {
  id: 'host',
  name: 'where it decodes',
  needs: [],
  gives: ['host', 'dtype', 'setting'],
  isOpen: ({ answers }) => answers.host === undefined,
  ask: () => ({
    kind: 'choice',
    message: 'Where is it to decode?',
    choices: [
      choice('native', 'In the native core, which is installed here', 'in the native core'),
      choice('stock', 'In stock ONNX Runtime, without our kernels', 'in stock ONNX Runtime'),
    ],
  }),
  answer: (state, given) => withAnswers(state, { host: given === 'stock' ? 'stock' : 'native' }),
};
