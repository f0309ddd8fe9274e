import { describe, expect, it } from 'vitest';
import { html, markup } from './html.ts';

describe('a template of markup', () => {
  it('escapes text, in content and in attributes', () => {
    const text = `</script><img src=x onerror="alert('1')">&`;
    expect(html`<b title="${text}">${text}</b>`.markup).toBe(
      '<b title="&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;">' +
        '&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;</b>',
    );
  });

  it('takes markup and lists as they are, and numbers', () => {
    expect(html`<ul>${['a<', 'b'].map((text) => html`<li>${text}</li>`)}</ul>${markup('<hr>')}${1.5}`.markup).toBe(
      '<ul><li>a&lt;</li><li>b</li></ul><hr>1.5',
    );
  });

  it('shows what turns or hides text, and cuts words that no line holds', () => {
    expect(html`${'a\u202eb\u0007'}`.markup).toBe('a\\u202eb\\x07');
    expect(html`${'x'.repeat(5000)}`.markup.length).toBeLessThan(400);
  });
});
