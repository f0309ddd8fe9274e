import { readFileSync } from 'node:fs';

const { groups } = JSON.parse(readFileSync(new URL('../pages.json', import.meta.url), 'utf8'));

const item = ({ file, title }) => ({ text: title, link: file === 'README.md' ? '/' : `/${file.replace(/\.md$/, '')}` });
const api = { text: 'API', link: '/api/' };

export default {
  title: 'Lacuna',
  description: 'LLaMA and Gemma checkpoints as ONNX models that ONNX Runtime decodes faster, with the cost measured',
  srcDir: 'pages',
  outDir: 'dist',
  // Indented code is commands.
  markdown: {
    config: ({ renderer: { rules } }) => {
      rules.code_block = (tokens, index, ...rest) => {
        tokens[index].info = 'txt';
        return rules.fence(tokens, index, ...rest);
      };
    },
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: 'deep',
    nav: [{ text: 'Guide', link: '/' }, api],
    sidebar: [
      ...groups.map(({ text, pages }) => ({ text, items: pages.map(item) })),
      { text: 'Reference', items: [api] },
    ],
  },
};
