import type { Client } from '#agents/client-session.ts'
import { quoted } from '#console/shell-quote.ts'
import { lastingCommand } from '#runtime/argv-of-program.ts'

/** How a client runs `s2 hook` for an event, as a line for its shell. `state` is named where it is not the one that S2 finds by itself. */
export function hookCommand(client: Client, event: string, state: string | null): string {
  const options = ['--agent', client, ...(state === null ? [] : ['--state', state])]
  return lastingCommand('s2', 'hook', event, ...options)
    .map(quoted)
    .join(' ')
}

/** The words by which a program that is no shell runs `s2 hook`; the event follows. */
export function programWords(client: Client, state: string | null): string[] {
  return lastingCommand('s2', 'hook', '--agent', client, ...(state === null ? [] : ['--state', state]))
}

/** The words by which a program waits for a wake of an idle session (`s2 hook wait`). */
export function waiterWords(client: Client, state: string | null): string[] {
  return lastingCommand('s2', 'hook', 'wait', '--agent', client, ...(state === null ? [] : ['--state', state]))
}

/** A word of a command line, quoted or not. */
const WORD = String.raw`(?:\S+|'(?:[^']|'\\'')*')`

/** Whether a line of a client's settings is one of ours, of whatever version and place. */
export function isHookCommand(client: Client, command: unknown): boolean {
  return (
    typeof command === 'string' && new RegExp(`\\bhook [\\w.]+ --agent ${client}(?: --state ${WORD})?$`).test(command)
  )
}

/** How a client starts the door of agents. */
export function mcpCommand(): [string, ...string[]] {
  return lastingCommand('s2', 'mcp')
}
