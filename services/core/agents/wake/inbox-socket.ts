import { connect } from 'node:net'
import { basename, join } from 'node:path'
import { socketPath } from '#runtime/long-socket-path.ts'
import { optionIn } from '#runtime/option-in.ts'
import type { ClientSession } from '../client-session.ts'
import { forClient, PassingRefusal, type WakeAdapter } from './adapter.ts'
import { type ClientEnvironment, clientEnvironment, clientFolder, isClientAlive } from './client-environment.ts'
import { whyNoOwnSocket } from './own-socket.ts'
import { readUserJson } from './user-json.ts'

/**
 * The socket by which one Claude Code session reads messages of others: lines of JSON, without an answer. The client guards it by
 * the mode of the file, so whoever has its user's rights may write there.
 */
export function inboxSocket(): WakeAdapter {
  return forClient({
    rung: 'inbox_socket',
    timeoutMs: 5_000,
    whyNot,
    wake: async ({ inboxSocket: path }, text, signal) => {
      const message = { type: 'user', message: { role: 'user', content: text } }
      await write(path ?? '', `${JSON.stringify(message)}\n`, signal)
      return 'sent'
    },
  })
}

async function whyNot(session: ClientSession): Promise<string | null> {
  const { inboxSocket: path } = session
  if (session.client !== 'claude') return 'only Claude Code has such a socket'
  if (path === null) return 'the session has told of no socket yet'
  if (!isClientAlive(session)) return 'the process of the session has ended'
  const why = whyNoOwnSocket(path)
  if (why !== null) return why
  const client = clientEnvironment(session)
  if (client === null || basename(path) !== `${session.process?.pid}.sock`) return `${path} is not the session's own`
  return (await isHeld(session, client)) ? HELD : null
}

/** In bypass mode the client asks a person by a dialog that blocks the session, unless its user said that messages are taken. */
const HELD =
  'it would open a dialog that blocks the session, which runs in bypass mode: set "crossSessionInbound": "accept" in the user\'s settings of Claude Code'
const BYPASS = 'bypassPermissions'

/** Settings of a project cannot loosen it, so only the user's and those of the command line are read. */
async function isHeld(session: ClientSession, client: ClientEnvironment): Promise<boolean> {
  const user = await readUserJson(join(clientFolder(client.env, 'CLAUDE_CONFIG_DIR', '.claude'), 'settings.json'))
  const inForce = { ...user, ...(await readUserJson(optionIn(client.argv, '--settings') ?? '{}')) }
  return isBypassed(session, client.argv, inForce) && inForce.crossSessionInbound !== 'accept'
}

/** The client names its mode with the first prompt: until then what it was started with counts. */
function isBypassed({ permissionMode }: ClientSession, argv: readonly string[], settings: ClaudeSettings): boolean {
  if (permissionMode !== null) return permissionMode === BYPASS
  const { defaultMode } = (settings.permissions ?? {}) as { readonly defaultMode?: unknown }
  const mode = optionIn(argv, '--permission-mode') ?? defaultMode
  return argv.includes('--dangerously-skip-permissions') || mode === BYPASS
}

type ClaudeSettings = Readonly<Record<string, unknown>>

function write(path: string, line: string, signal: AbortSignal): Promise<void> {
  using short = socketPath(path)
  return new Promise((resolve, reject) => {
    const socket = connect({ path: short.path })
    const onAbort = (): void => void socket.destroy(new Error('it took too long'))
    signal.addEventListener('abort', onAbort, { once: true })
    socket.on('error', (error: NodeJS.ErrnoException) =>
      // EAGAIN: others wait to be heard there (connect(2))
      reject(error.code === 'EAGAIN' ? new PassingRefusal('its socket is busy') : error),
    )
    socket.on('close', () => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    })
    socket.resume()
    socket.end(line)
  })
}
