import { programWords } from './hook-commands.ts'

/** The first line of our plugin, by which its file is known. */
export const PLUGIN_MARK = '// Written by `s2 hooks install --agent opencode`, which `s2 hooks uninstall` takes away.'

/** Our plugin for opencode, which has no hooks that run commands: it passes events on to `s2 hook`, and waits for none of them. */
export function pluginText(state: string | null): string {
  return `${PLUGIN_MARK}
import { spawn } from 'node:child_process'

const COMMAND = ${JSON.stringify(programWords('opencode', state))}
const EVENTS = ['session.created', 'session.idle', 'session.error', 'session.deleted', 'permission.asked', 'permission.updated', 'permission.replied']

function tell(type, sessionID, directory, more = {}) {
  if (typeof sessionID !== 'string') return
  const [program, ...args] = COMMAND
  const child = spawn(program, [...args, type], { stdio: ['pipe', 'ignore', 'ignore'] })
  child.on('error', () => undefined)
  child.stdin.on('error', () => undefined)
  child.stdin.end(JSON.stringify({ type, sessionID, cwd: directory, ...more }))
}

export const S2 = async ({ directory }) => ({
  event: async ({ event: { type, properties = {} } }) => {
    if (!EVENTS.includes(type)) return
    const { sessionID, info, title, permission, error } = properties
    const message = title ?? permission ?? error?.data?.message
    tell(type, sessionID ?? info?.id, directory, { message, error: error?.name })
  },
  'chat.message': async ({ sessionID }, { parts = [] }) => {
    tell('chat.message', sessionID, directory, { prompt: parts.map(({ text = '' }) => text).join('\\n') })
  },
  'tool.execute.after': async ({ sessionID, tool }) => {
    tell('tool.execute.after', sessionID, directory, { tool_name: tool })
  },
})
`
}
