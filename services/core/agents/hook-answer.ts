import type { HookEvent } from './hook-event.ts'

/** What waits on this host for the agent of a client's session. */
export interface Waiting {
  /** The agent's name and role; null where the host has several, and nobody said which one this is. */
  readonly agent: { readonly name: string; readonly role: string } | null
  /** Messages that nobody has taken, by their names in the inbox. */
  readonly mail: readonly string[]
  /** Tasks that the agent took by hand and has not ended. */
  readonly tasks: readonly { readonly task: string; readonly epoch: number }[]
}

/** What a session was told already: each thing is told once, and lets a turn go on once. */
export interface Told {
  readonly mail: readonly string[]
  /** What turns were made to go on for. */
  readonly blocked: readonly string[]
  /** When that was, milliseconds since 1970. */
  readonly blockedAt: readonly number[]
}

/** What a hook answers: facts for the model, or that the turn goes on; and what is remembered of it. */
export interface HookAnswer {
  readonly kind: 'context' | 'block'
  readonly text: string
  readonly told: Told
}

export const NOTHING_TOLD: Told = { mail: [], blocked: [], blockedAt: [] }
/** How often turns of one session are made to go on in an hour: a client may not bound that itself, and each costs tokens. */
const BLOCKS_AN_HOUR = 6
const HOUR_MS = 3_600_000
/** Names that are remembered. More messages than that in one inbox are told of again. */
const REMEMBERED_MAX = 500

/** Decides what a hook answers; null for nothing. It says facts: an order in a hook's text looks like an attack to a model. */
export function hookAnswer(event: HookEvent, waiting: Waiting, told: Told, now: number): HookAnswer | null {
  if (event.subagent !== null) return null
  switch (event.kind) {
    case 'start':
      return context([whoOf(waiting), mailOf(waiting.mail.length), ...tasksOf(waiting)], waiting, told)
    case 'prompt':
      return context([mailOf(waiting.mail.length), ...tasksOf(waiting)], waiting, told)
    case 'tool_ended':
      return context([mailOf(waiting.mail.filter((each) => !told.mail.includes(each)).length, 'new ')], waiting, told)
    case 'turn_ended':
      return event.isStopHookActive ? null : block(waiting, told, now)
    default:
      return null
  }
}

function context(lines: readonly (string | null)[], { mail }: Waiting, told: Told): HookAnswer | null {
  const said = lines.filter((each) => each !== null)
  if (said.length === 0) return null
  return { kind: 'context', text: said.join(' '), told: { ...told, mail: mail.slice(-REMEMBERED_MAX) } }
}

function whoOf({ agent }: Waiting): string | null {
  return agent === null ? null : `This session works as agent ${agent.name} (role ${agent.role}) of an S2 fleet.`
}

function mailOf(count: number, kind: 'new ' | '' = ''): string | null {
  if (count === 0) return null
  const messages = count === 1 ? `1 ${kind}message waits` : `${count} ${kind}messages wait`
  return `${messages} for this agent: \`s2 check\` or the MCP tool check_messages shows ${count === 1 ? 'it' : 'them'}.`
}

function tasksOf({ tasks }: Waiting): string[] {
  return tasks.map(({ task }) => `This agent holds the task ${task}, which has not ended.`)
}

function block({ mail, tasks }: Waiting, told: Told, now: number): HookAnswer | null {
  const recent = told.blockedAt.filter((at) => Math.abs(now - at) < HOUR_MS)
  if (recent.length >= BLOCKS_AN_HOUR) return null
  const newMail = mail.filter((each) => !told.blocked.includes(mailKey(each)))
  const newTasks = tasks.filter((each) => !told.blocked.includes(taskKey(each)))
  const reasons = [mailReason(newMail.length), ...newTasks.map(taskReason)].filter((each) => each !== null)
  if (reasons.length === 0) return null
  const blocked = [...told.blocked, ...newMail.map(mailKey), ...newTasks.map(taskKey)].slice(-REMEMBERED_MAX)
  return { kind: 'block', text: reasons.join(' '), told: { mail, blocked, blockedAt: [...recent, now] } }
}

function mailKey(name: string): string {
  return `message ${name}`
}

function taskKey({ task, epoch }: Waiting['tasks'][number]): string {
  return `task ${task} ${epoch}`
}

function mailReason(count: number): string | null {
  if (count === 0) return null
  return `${count === 1 ? 'One unread message waits' : `${count} unread messages wait`}: read with \`s2 check\` or the MCP tool check_messages.`
}

function taskReason({ task }: Waiting['tasks'][number]): string {
  return `The task ${task} is accepted and not ended: go on with it, or end it with \`s2 task done ${task}\` or \`s2 task fail ${task}\` (MCP tools complete_task, fail_task).`
}

/** The answer as clients read it from their hook: Claude Code's form, which Codex and Gemini CLI share. */
export function answerText({ name }: HookEvent, { kind, text }: Pick<HookAnswer, 'kind' | 'text'>): string {
  return JSON.stringify(
    kind === 'block'
      ? { decision: 'block', reason: text }
      : { hookSpecificOutput: { hookEventName: name, additionalContext: text } },
  )
}
