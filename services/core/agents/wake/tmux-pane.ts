import { hash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { wakesIn } from '#fleet/wake-text.ts'
import type { Clock } from '#runtime/clock.ts'
import { ancestors, processStat } from '#runtime/process-stat.ts'
import { hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import type { ClientSession } from '../client-session.ts'
import { forClient, PassingRefusal, type WakeAdapter } from './adapter.ts'
import { clientEnvironment, isClientAlive } from './client-environment.ts'
import { whyNoOwnSocket } from './own-socket.ts'
import { hasEmptyPrompt } from './pane-screen.ts'

type Pane = NonNullable<ClientSession['pane']>

export interface TmuxParts {
  readonly clock: Clock
  /** Where tmux is found: PATH. */
  readonly env: Readonly<Record<string, string | undefined>>
}

const COMMAND_TIMEOUT_MS = 3_000
const OUTPUT_MAX = 256 * 1024
/** Between the text and Enter: what comes together is taken for one paste, in which Enter is a line break. */
const PAUSE_MS = 300
/** How often the screen is looked at for the text, and for its going, and Enter is pressed again. Busy machines draw late. */
const LOOKS = 25
const ENTERS = 3

/**
 * Types into the pane of a terminal multiplexer in which the client runs: only into an empty prompt, never into a draft or a
 * dialog, and it never presses Ctrl-C. One program at a time types into a pane.
 */
export function tmuxPane(parts: TmuxParts): WakeAdapter {
  return forClient({
    rung: 'tmux',
    timeoutMs: 20_000,
    whyNot: async (session, signal) => await whyNot(session, parts, signal),
    wake: async (session, text, signal) => {
      await using _lock = await lockPane(session.pane as Pane)
      const why = await whyNot(session, parts, signal)
      if (why !== null) throw new Error(why)
      await type(session.pane as Pane, text, parts, signal)
      return 'sent'
    },
  })
}

async function whyNot(session: ClientSession, parts: TmuxParts, signal: AbortSignal): Promise<string | null> {
  const { pane, process: known } = session
  if (pane === null) return 'the session runs in no pane that is known'
  if (known === null || !isClientAlive(session)) return 'the process of the session has ended'
  if (processStat(known.pid)?.state === 'T') return 'the client is stopped'
  const client = clientEnvironment(session)
  if (client === null) return 'the process of the session is no client of this user'
  if (client.argv.includes('app-server')) return SHARED
  const why = whyNoOwnSocket(pane.socket)
  if (why !== null) return why
  const shown = await tmux(pane, ['display-message', '-p', '-t', pane.id, SHOWN], parts, signal).catch(
    (error: Error) => error,
  )
  if (shown instanceof Error) return shown.message
  const [id, root, mode, attached, usedAt] = shown.trim().split(' ')
  if (id !== pane.id) return `the pane ${pane.id} is gone`
  if (![...ancestors(known.pid)].some(({ pid }) => pid === Number(root)))
    return `another program runs in the pane ${pane.id}`
  const isUsed = attached !== '0' && parts.clock.wall() - Number(usedAt) * 1_000 < READING_MS
  if (mode !== '0' && isUsed) throw new PassingRefusal('a person reads in the pane (copy mode)')
  if (await isPromptEmpty(pane, parts, signal)) return null
  throw new PassingRefusal('no empty prompt is on the screen, but a draft or a dialog')
}

const SHOWN = '#{pane_id} #{pane_pid} #{pane_in_mode} #{session_attached} #{session_activity}'
/** Who has pressed no key in a terminal for so long, milliseconds, reads nothing there. */
const READING_MS = 600_000

/** Several terminals of Codex have one daemon, which runs the hooks of all: the pane that it knows may be another session's. */
const SHARED = 'its hooks run in a daemon that terminals share, so its own pane is not known'

async function type(pane: Pane, text: string, parts: TmuxParts, signal: AbortSignal): Promise<void> {
  const run = (args: readonly string[], input?: string): Promise<string> => tmux(pane, args, parts, signal, input)
  const buffer = `s2-${wakesIn(text)[0] ?? 'wake'}`
  const mode = await run(['display-message', '-p', '-t', pane.id, '#{pane_in_mode}'])
  if (mode.trim() !== '0') await run(['send-keys', '-t', pane.id, '-X', 'cancel'])
  await run(['load-buffer', '-b', buffer, '-'], plainLine(text))
  await run(['paste-buffer', '-d', '-p', '-r', '-b', buffer, '-t', pane.id])
  if (!(await seen(async () => await isShown(pane, text, parts, signal), parts.clock, signal))) {
    throw new Error('the text did not show in the prompt, so Enter was not pressed')
  }
  for (let enters = 0; enters < ENTERS; enters += 1) {
    await parts.clock.sleep(PAUSE_MS, signal)
    await run(['send-keys', '-t', pane.id, 'Enter'])
    if (await seen(async () => await isPromptEmpty(pane, parts, signal), parts.clock, signal)) return
  }
  throw new Error('the text stands in the prompt, and Enter did not send it')
}

async function seen(isSo: () => Promise<boolean>, clock: Clock, signal: AbortSignal): Promise<boolean> {
  for (let look = 0; look < LOOKS; look += 1) {
    await clock.sleep(PAUSE_MS / 2, signal)
    if (await isSo()) return true
  }
  return false
}

/** Whether the text stands on the screen, wherever the client breaks its lines. */
async function isShown(pane: Pane, text: string, parts: TmuxParts, signal: AbortSignal): Promise<boolean> {
  const screen = await tmux(pane, ['capture-pane', '-p', '-J', '-t', pane.id], parts, signal)
  const [id = ''] = wakesIn(text)
  return screen.replaceAll(/\s/g, '').includes(`S2wake${id}`)
}

async function isPromptEmpty(pane: Pane, parts: TmuxParts, signal: AbortSignal): Promise<boolean> {
  const screen = await tmux(pane, ['capture-pane', '-p', '-e', '-t', pane.id], parts, signal)
  const cursor = await tmux(pane, ['display-message', '-p', '-t', pane.id, '#{cursor_y}'], parts, signal)
  return hasEmptyPrompt(screen.split('\n'), Number(cursor))
}

/** One line without control characters: none of them may reach a terminal. */
function plainLine(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ')
}

async function tmux(
  { socket }: Pane,
  args: readonly string[],
  { clock, env }: TmuxParts,
  signal: AbortSignal,
  input = '',
): Promise<string> {
  const argv = ['tmux', '-S', socket, ...args] as const
  const bounds = { timeoutMs: COMMAND_TIMEOUT_MS, outputMax: OUTPUT_MAX, beyond: 'end' } as const
  const ending = await runCommand({ argv, env: { PATH: env.PATH, LANG: 'C.UTF-8' }, input, ...bounds }, clock, signal)
  if (hasSucceeded(ending)) return ending.stdout.toString('utf8')
  throw new Error(`tmux ${args[0]}: ${ending.stderr.trim() || howItEnded(ending)}`)
}

/** A lock that ends with its program: a listening socket without a file, unix(7). */
async function lockPane({ socket, id }: Pane): Promise<AsyncDisposable> {
  const name = hash('sha256', `${process.getuid?.()} ${socket} ${id}`).slice(0, 32)
  const server = createServer((each) => each.destroy())
  server.listen(`\0s2-pane-${name}`)
  try {
    await once(server, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw new PassingRefusal(`another program types into the pane ${id}`)
  }
  server.unref()
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) }
}
