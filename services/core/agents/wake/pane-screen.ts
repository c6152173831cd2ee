/** What a terminal shows, as tmux prints it with its colours: only what stands there says whether a client waits for a prompt. */

/** The sign before what is typed, as Claude Code, Codex and others draw it. */
const PROMPT = /^[\s│┃|]*[❯›>][\s\u00a0]*/
/** What ends a box around a prompt. */
const FRAME = /^[\s\u00a0─━═╰╯└┘│┃|▀]*$/
/** What Gemini CLI shows in an empty prompt, in a grey of its own. */
const EXAMPLE = /^Type your message or @path\/to\/file$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences of a terminal begin with one
const SEQUENCE = /\u001b\[([\d;]*)m/g

/**
 * Whether the line of the cursor is a prompt in which nothing is typed. What is shown dim stands there as an example of what may be
 * typed. A second line of a draft stands below it.
 */
export function hasEmptyPrompt(lines: readonly string[], cursorLine: number): boolean {
  const { bright, dim } = brightText(lines[cursorLine] ?? '')
  const sign = PROMPT.exec(bright)?.[0]
  if (sign === undefined) return false
  const typed = bright.slice(sign.length).replace(/[│┃|\s\u00a0]+$/, '')
  // the cursor stands on the first letter of an example, which is drawn bright then
  const isEmpty = typed === '' || EXAMPLE.test(typed.trim()) || (dim !== '' && [...typed].length === 1)
  return isEmpty && FRAME.test(brightText(lines[cursorLine + 1] ?? '').bright)
}

/** A line without its colours, and what of it is dim apart. */
function brightText(line: string): { readonly bright: string; readonly dim: string } {
  let isDim = false
  let from = 0
  const parts = { bright: '', dim: '' }
  const take = (text: string): void => {
    parts[isDim ? 'dim' : 'bright'] += text
  }
  for (const match of line.matchAll(SEQUENCE)) {
    take(line.slice(from, match.index))
    from = match.index + match[0].length
    for (const code of (match[1] ?? '').split(';'))
      isDim = code === '2' || (isDim && !['', '0', '1', '22'].includes(code))
  }
  take(line.slice(from))
  return parts
}
