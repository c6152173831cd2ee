import { randomBytes } from 'node:crypto'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { type ReachedFleet, reachFleet } from '#console/store-access.ts'
import { plain } from '#console/terminal-text.ts'
import type { AuditEntry } from '#fleet/audit.ts'
import { S2Error } from '#fleet/errors.ts'
import { answerablePromptIn, isPromptName } from '#fleet/prompt-name.ts'
import { partnerOf, type SessionId, sideOf } from '#fleet/session-id.ts'
import type { Store } from '#store/store.ts'
import {
  ANSWER_ACTION,
  ANSWER_REASON_MAX,
  answerMessage,
  DECISIONS,
  type PermissionAnswer,
  type PermissionDecision,
} from '../guard/permission-answer.ts'
import { isShownWhole } from '../guard/permission-prompt.ts'
import { routeInFleet } from '../message-route.ts'

const EXAMPLES = `
Examples:
  s2 answer s2-worker-3 1a2b3c4d5e6f allow              asks for the code that \`s2 guard enable --mode answer\` printed there
  s2 answer s2-worker-3 1a2b3c4d5e6f deny --reason 'not on Fridays' < code.txt

The prompt is named by 12 hex digits in the incident (\`s2 incident list\`) and in \`s2 status\`. They are there where the agent is Claude
Code at a terminal, with S2_GUARD=on in the environment that it was started with, for ten minutes after it asked. The code, or the
token that \`s2 guard redeem\` gave for it (in GUARD_TOKEN), never leaves this host: the answer carries a proof of it.
Whoever answers first counts, here or at the terminal; the prompt is answered once.`

interface Options {
  readonly reason?: string
  readonly json?: true
}

/** How long the agent's host is given to say what became of an answer, and how often it is asked. */
const OUTCOME_MS = 20_000
const LOOK_MS = 250
const PAGE = 200

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<agent>', 'the agent whose client asks')
    .argument('<prompt>', 'the prompt, by the 12 hex digits that name it')
    .argument('<decision>', DECISIONS.join(' or '))
    .option('--reason <text>', `why, at most ${ANSWER_REASON_MAX} characters: the model is told where it is denied`)
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (agent: string, prompt: string, decision: string, options: Options) => {
      await answer(context, agent, readArguments(prompt, decision, options), options)
    })
}

function readArguments(prompt: string, word: string, { reason = null }: { reason?: string | null }): PermissionAnswer {
  const decision = DECISIONS.find((each): each is PermissionDecision => each === word)
  if (decision === undefined)
    throw new UsageError(`there is no answer ${JSON.stringify(word)}`, `use one of ${DECISIONS.join(', ')}`)
  if (!isPromptName(prompt))
    throw new UsageError(`${JSON.stringify(prompt)} names no prompt`, 'use the 12 hex digits in the incident')
  if (reason !== null && (reason === '' || reason.length > ANSWER_REASON_MAX))
    throw new UsageError(`the reason has ${reason.length} characters`, `use 1 to ${ANSWER_REASON_MAX}`)
  return { prompt, decision, reason }
}

async function answer(context: CommandContext, agent: string, wanted: PermissionAnswer, options: Options) {
  await using reached = await reachFleet(context)
  const { store } = reached
  const what = await demandPrompt(store, agent, wanted)
  const from = await speakerTo(reached, agent)
  context.tell(`${plain(agent)} asks: ${plain(what)}\n`)
  const text = answerMessage(wanted, await secretOf(context))
  const { seq } = await store.auditHead()
  await store.send(from, `s2-answer-${randomBytes(12).toString('hex')}`, { text, action: ANSWER_ACTION })
  const outcome = await outcomeOf(context, store, { ...wanted, by: partnerOf(from), after: seq })
  if (outcome === null) throw noWord(agent)
  if (outcome.action === 'guard_refused')
    throw new S2Error('forbidden', `the host of ${agent} did not take the answer: ${String(outcome.details.why)}`, {
      next: 'nothing was answered: `s2 status` shows whether the prompt is still there',
    })
  if (options.json === true) context.print(`${JSON.stringify({ agent, ...wanted, what })}\n`)
  else context.print(`${wanted.decision === 'allow' ? 'allowed' : 'denied'}: ${plain(what)}\n`)
}

/** What the named prompt asks. Throws where the agent does not wait for an answer to it. */
async function demandPrompt(store: Store, agent: string, { prompt, decision }: PermissionAnswer): Promise<string> {
  const { verdicts } = await store.verdicts()
  const activity = verdicts.find((each) => each.agent === agent)?.activity
  const what = activity?.state === 'waiting' ? activity.what : null
  const name = answerablePromptIn(what)
  if (what === null) throw new S2Error('not_found', `${agent} shows no dialog now: nothing was answered`, OVER)
  if (name === null)
    throw new S2Error('forbidden', `${agent} cannot be answered from afar now: nothing was answered`, {
      next: 'answer it at its terminal; from afar Claude Code can be answered that was started with S2_GUARD=on (docs/agents.md)',
    })
  if (name !== prompt)
    throw new S2Error('conflict', `${agent} waits for an answer to ${name}, and not to ${prompt}`, OVER)
  if (decision === 'allow' && !isShownWhole(what))
    throw new S2Error('forbidden', 'what the tool is given is longer than is shown: nothing was answered', {
      next: 'deny it, or allow it at the terminal, where all of it stands',
    })
  return what
}

const OVER = { next: '`s2 status` shows what it waits for now' }

/** The orchestrator's session in the agent's conversation: answers of others are not taken. */
async function speakerTo({ store, as, credentials }: ReachedFleet, agent: string): Promise<SessionId> {
  const own = as === 'session' ? credentials.map(({ session }) => session) : null
  const wanted = { to: agent, role: null, from: undefined }
  const { from, to } = await routeInFleet(store, wanted, await store.conversations(), own)
  if (to === null && sideOf(from) === 'a') return from
  throw new S2Error('forbidden', 'only the orchestrator answers permission prompts', { next: 'answer on its host' })
}

async function secretOf(context: CommandContext): Promise<string> {
  const { GUARD_TOKEN } = context.env
  if (GUARD_TOKEN !== undefined && GUARD_TOKEN !== '') return GUARD_TOKEN
  const typed = context.isAttended ? ((await context.ask('code: ')) ?? '') : await context.input(200)
  if (typed.trim() !== '') return typed.trim()
  throw new S2Error('forbidden', 'there is no code: nothing was answered', {
    next: "a person types `s2 guard enable --mode answer` at a terminal of the agent's host, with S2_GUARD=on, which prints one",
  })
}

interface Awaited extends PermissionAnswer {
  readonly by: SessionId
  /** The last entry of the audit before the answer was sent. */
  readonly after: number
}

/** What the agent's host recorded of the answer; null where it has not in time. */
async function outcomeOf(
  { clock }: CommandContext,
  store: Store,
  { prompt, by, after }: Awaited,
): Promise<AuditEntry | null> {
  const began = clock.now()
  let last = after
  for (;;) {
    const page = await store.audit(last, PAGE)
    const found = page.find(({ actor, action, details }) => {
      const isOutcome = action === 'guard_answered' || action === 'guard_refused'
      return isOutcome && actor === by && details.prompt === prompt
    })
    if (found !== undefined) return found
    last = page.at(-1)?.seq ?? last
    if (clock.now() - began >= OUTCOME_MS) return null
    if (page.length < PAGE) await clock.sleep(LOOK_MS)
  }
}

function noWord(agent: string): S2Error {
  return new S2Error(
    'unknown_outcome',
    `the host of ${agent} has not said within ${OUTCOME_MS / 1_000} s what became of the answer`,
    {
      next: '`s2 audit search guard_` shows it later; once the prompt is over the answer does nothing',
    },
  )
}
