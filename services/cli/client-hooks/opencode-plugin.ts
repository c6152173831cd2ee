import { programWords, waiterWords } from './hook-commands.ts'

/** The first line of our plugin, by which its file is known. */
export const PLUGIN_MARK = '// Written by `s2 hooks install --agent opencode`, which `s2 hooks uninstall` takes away.'

/** Our plugin for opencode, which has no hooks that run commands: it passes events on to `s2 hook`, and what that answers to the model. */
export function pluginText(state: string | null): string {
  return `${PLUGIN_MARK}
import { spawn } from 'node:child_process'

const HOOK = ${JSON.stringify(programWords('opencode', state))}
const WAITER = ${JSON.stringify(waiterWords('opencode', state))}
${BODY}`
}

const BODY = `const ANSWERED_WITHIN_MS = 5_000
const WAITS_AT_LEAST_MS = 60_000
// Without a terminal opencode ends with its turn.
const isOneTurn = process.argv.slice(2).find((each) => !each.startsWith('-')) === 'run'

function run([program, ...args], fields) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const said = { out: '', err: '' }
  child.stdout.on('data', (chunk) => { said.out += chunk })
  child.stderr.on('data', (chunk) => { said.err += chunk })
  child.stdin.on('error', () => undefined)
  child.stdin.end(JSON.stringify(fields))
  const ended = new Promise((resolve) => {
    child.on('error', () => resolve({ code: null, ...said }))
    child.on('close', (code) => resolve({ code, ...said }))
  })
  return { child, ended }
}

async function answerOf(fields) {
  const late = new Promise((resolve) => setTimeout(resolve, ANSWERED_WITHIN_MS, { out: '' }).unref())
  const { out } = await Promise.race([run([...HOOK, fields.type], fields).ended, late])
  try {
    return JSON.parse(out)
  } catch {
    return {}
  }
}

// The words by which S2 knows failures; its own name for all others.
function failureOf({ name, data = {} }) {
  if (data.statusCode === 401 || data.statusCode === 403) return 'authentication_failed'
  if (data.statusCode === 429) return 'rate_limit'
  return data.statusCode >= 500 ? 'overloaded' : name
}

export const S2 = async ({ client, directory }) => {
  const parents = new Map() // sessions that tasks of another session run in
  const lasts = new Map() // agent and model of the last prompt: a plan stays a plan
  const own = new Set() // sessions whose next prompt is ours
  const goesOn = new Set() // sessions whose turn we made go on
  const ended = new Set() // sessions whose turn ended by a failure or a person
  const idle = new Set()
  const waiters = new Map()
  const starts = new Map() // what is answered to new sessions, until their first prompt

  const fieldsOf = (type, id, more) => {
    const parent = parents.get(id)
    return { type, sessionID: parent ?? id, ...(parent && { agent_id: id }), cwd: directory, ...more }
  }
  const tell = (type, id, more = {}) => (typeof id === 'string' ? answerOf(fieldsOf(type, id, more)) : {})

  const prompt = async (id, text) => {
    own.add(id)
    idle.delete(id)
    await client.session.promptAsync({ path: { id }, body: { ...lasts.get(id), parts: [{ type: 'text', text }] } })
  }

  const wait = async (id) => {
    if (isOneTurn || waiters.has(id)) return
    const began = Date.now()
    const { child, ended } = run(WAITER, fieldsOf('session.idle', id))
    waiters.set(id, child)
    for (const each of [child, child.stdin, child.stdout, child.stderr]) each.unref?.()
    const { code, err } = await ended
    waiters.delete(id)
    const wake = err.split('\\n').find((line) => line.startsWith('S2 wake '))
    if (code === 2 && wake) await prompt(id, wake)
    else if (code === 0 && idle.has(id) && Date.now() - began > WAITS_AT_LEAST_MS) await wait(id)
  }

  const turnEnded = async (id) => {
    if (!ended.delete(id)) {
      const isAgain = goesOn.delete(id) || isOneTurn
      const { decision, reason } = await tell('session.idle', id, { stop_hook_active: isAgain })
      if (decision === 'block') {
        goesOn.add(id)
        return await prompt(id, reason)
      }
    }
    if (parents.has(id)) return
    idle.add(id)
    void wait(id).catch(() => undefined)
  }

  const heard = {
    'session.created': async ({ info }) => {
      if (info.parentID) parents.set(info.id, parents.get(info.parentID) ?? info.parentID)
      else starts.set(info.id, tell('session.created', info.id))
      await starts.get(info.id)
    },
    'session.deleted': async ({ info }) => {
      waiters.get(info.id)?.kill()
      await tell('session.deleted', info.id)
    },
    'session.idle': async ({ sessionID }) => await turnEnded(sessionID),
    'session.error': async ({ sessionID, error }) => {
      if (!sessionID || !error) return
      ended.add(sessionID)
      if (error.name === 'MessageAbortedError') await tell('session.aborted', sessionID)
      else await tell('session.error', sessionID, { message: error.data?.message, error: failureOf(error) })
    },
    'permission.asked': async ({ sessionID, permission, patterns = [], metadata = {} }) => {
      const command = metadata.command ?? patterns.join(' ')
      await tell('permission.asked', sessionID, { tool_name: permission, tool_input: { command } })
    },
    'question.asked': async ({ sessionID, questions = [] }) => {
      await tell('question.asked', sessionID, { message: \`question: \${questions[0]?.question ?? 'it asks something'}\` })
    },
  }
  for (const type of ['permission.replied', 'question.replied', 'question.rejected'])
    heard[type] = async ({ sessionID }) => await tell(type, sessionID)

  return {
    event: async ({ event: { type, properties = {} } }) => {
      if (Object.hasOwn(heard, type)) await heard[type](properties).catch(() => undefined)
    },
    'chat.message': async ({ sessionID, agent, model, variant }, { message, parts = [] }) => {
      if (!parents.has(sessionID)) lasts.set(sessionID, { agent, model, variant })
      idle.delete(sessionID)
      const isOwn = own.delete(sessionID)
      if (!isOwn) goesOn.delete(sessionID)
      const text = parts.map(({ text = '' }) => text).join('\\n')
      const told = [await starts.get(sessionID), await tell('chat.message', sessionID, { prompt: text })]
      starts.delete(sessionID)
      const context = told.map((each) => each?.hookSpecificOutput?.additionalContext).find((each) => each)
      if (isOwn || !context || !message) return
      const ids = { id: \`\${parts.at(-1)?.id ?? 'prt_'}s2\`, sessionID, messageID: message.id }
      parts.push({ ...ids, type: 'text', text: context, synthetic: true })
    },
    'tool.execute.after': async ({ sessionID, tool }, output) => {
      const { hookSpecificOutput } = await tell('tool.execute.after', sessionID, { tool_name: tool })
      const context = hookSpecificOutput?.additionalContext
      if (context && typeof output?.output === 'string') output.output += \`\\n\\n\${context}\`
    },
  }
}
`
