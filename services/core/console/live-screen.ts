import { stripVTControlCharacters, styleText } from 'node:util'
import { type CommandContext, ENDING_SIGNALS } from './context.ts'
import type { Paint } from './fleet-overview.ts'
import { cut, widthOf } from './terminal-text.ts'

/** Paints where the terminal has colours. */
export function painter(context: CommandContext): Paint {
  return (style, text) => (context.screen.coloured ? styleText(style, text, { validateStream: false }) : text)
}

const ENTER = '\x1b[?1049h\x1b[?25l'
const LEAVE = '\x1b[?25h\x1b[?1049l'

/**
 * Shows a picture on the alternate screen and redraws it at an interval and when the window changes, until q or Ctrl-C is
 * pressed, an ending signal comes, or `signal` aborts. The terminal is restored at the end, also after a crash.
 */
export async function showLive(
  context: CommandContext,
  picture: (columns: number, rows: number) => Promise<readonly string[]>,
  everyMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const leaving = new AbortController()
  const left = Promise.withResolvers<null>()
  const leave = (): void => {
    leaving.abort()
    left.resolve(null)
  }
  using stack = new DisposableStack()
  context.print(ENTER)
  stack.defer(() => context.print(LEAVE))
  stack.use(context.onExit(() => context.print(LEAVE)))
  stack.use(context.onSignal(ENDING_SIGNALS, leave))
  stack.use(context.onKey((key) => (key === 'q' || key === 'Q' || key === '\x03' ? leave() : undefined)))
  signal?.addEventListener('abort', leave, { once: true })
  if (signal?.aborted === true) leave()
  let redraw = new AbortController()
  stack.use(context.onResize(() => redraw.abort()))
  while (!leaving.signal.aborted) {
    const { columns, rows } = context.screen
    const drawn = await Promise.race([picture(columns, rows), left.promise])
    if (drawn === null) break
    const lines = drawn.slice(0, rows).map((line) => clip(line, columns))
    // One synchronised update avoids flicker, and clears what is left of the picture before.
    context.print(`\x1b[?2026h\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J\x1b[?2026l`)
    redraw = new AbortController()
    await context.clock.sleep(everyMs, AbortSignal.any([leaving.signal, redraw.signal])).catch(() => undefined)
  }
  signal?.removeEventListener('abort', leave)
}

/** Cuts a painted line to the window: a line that wraps would push others out of it. */
function clip(line: string, columns: number): string {
  const words = stripVTControlCharacters(line)
  if (widthOf(words) <= columns) return line
  // A line that is painted as a whole keeps its colour.
  const [before = '', after = ''] = line.includes(words) ? line.split(words) : []
  return before + cut(words, columns) + after
}
