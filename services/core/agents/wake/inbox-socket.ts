import { connect } from 'node:net'
import { join } from 'node:path'
import { socketPath } from '#runtime/long-socket-path.ts'
import type { ClientSession } from '../client-session.ts'
import { forClient, type WakeAdapter } from './adapter.ts'
import { clientEnvironment, clientFolder, isClientAlive } from './client-environment.ts'
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
  const { client, inboxSocket: path, permissionMode } = session
  if (client !== 'claude') return 'only Claude Code has such a socket'
  if (path === null) return 'the session has told of no socket yet'
  if (!isClientAlive(session)) return 'the process of the session has ended'
  const isHeld = permissionMode === 'bypassPermissions' && !(await takesUnasked(session))
  return whyNoOwnSocket(path) ?? (isHeld ? HELD : null)
}

/** In bypass mode the client asks a person by a dialog that blocks the session, unless its user said that messages are taken. */
const HELD =
  'it would open a dialog that blocks the session, which runs in bypass mode: set "crossSessionInbound": "accept" in the user\'s settings of Claude Code'

/** Settings of a project cannot loosen it, so only the user's and those of the command line are read. */
async function takesUnasked(session: ClientSession): Promise<boolean> {
  const client = clientEnvironment(session)
  if (client === null) return false
  const user = join(clientFolder(client.env, 'CLAUDE_CONFIG_DIR', '.claude'), 'settings.json')
  const given = client.argv[client.argv.indexOf('--settings') + 1]
  const inForce = client.argv.includes('--settings') && given !== undefined ? await readUserJson(given) : {}
  return (inForce.crossSessionInbound ?? (await readUserJson(user)).crossSessionInbound) === 'accept'
}

function write(path: string, line: string, signal: AbortSignal): Promise<void> {
  using short = socketPath(path)
  return new Promise((resolve, reject) => {
    const socket = connect({ path: short.path })
    const onAbort = (): void => void socket.destroy(new Error('it took too long'))
    signal.addEventListener('abort', onAbort, { once: true })
    socket.on('error', reject)
    socket.on('close', () => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    })
    socket.resume()
    socket.end(line)
  })
}
