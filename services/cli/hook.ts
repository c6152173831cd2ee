import { existsSync } from 'node:fs'
import { answerHook, orAfter, SILENCE } from '#agents/answer-hook.ts'
import { clientProcessAbove, servesTerminals } from '#agents/client-process.ts'
import { CLIENTS, type Client } from '#agents/client-session.ts'
import { clientVersion } from '#agents/client-version.ts'
import { HOOK_INPUT_MAX, type HookEvent, readHookEvent } from '#agents/hook-event.ts'
import type { ClientFacts, HookReport } from '#agents/hook-report.ts'
import { HookReports } from '#agents/hook-reports.ts'
import { sessionIn } from '#agents/session-in.ts'
import type { CommandContext } from '#console/context.ts'
import { optionIn } from '#runtime/option-in.ts'
import { pidNamespace } from '#runtime/process-life.ts'
import { path, STATE_FALLBACK } from '#runtime/setting-parsers.ts'
import { readHookInput } from './hook-input.ts'

/** What is asked of a hook on its command line: `s2 hook EVENT --agent CLIENT [--state FOLDER]`. */
interface Asked {
  readonly name: string | null
  readonly client: Client
  readonly state: string
}

/**
 * Within this comes what a hook is told. It is there at once, save on a machine so busy that a shorter bound would lose events, and so
 * leave an agent in a state that it has left; a client that keeps the input open is not waited for longer than its object takes.
 */
const INPUT_WITHIN_MS = 2_000

/**
 * Tells keepalive what a client says, and the client what waits for it. Whatever goes wrong it answers nothing and 0: a hook must never
 * stop a turn by a fault of its own.
 */
export async function runHook(argv: readonly string[], context: CommandContext): Promise<number> {
  try {
    const asked = readArguments(argv, context.env)
    if (asked === null) context.tell(`s2: hook wants EVENT --agent ${CLIENTS.join('|')}\n`)
    else if (asked.name === 'wait') return await waitForWake(asked, context)
    else await hear(asked, context)
  } catch (error) {
    context.tell(`s2: the hook did nothing: ${(error as Error).message.slice(0, 200)}\n`)
  }
  return 0
}

function readArguments(argv: readonly string[], env: CommandContext['env']): Asked | null {
  const client = CLIENTS.find((each) => each === optionIn(argv, '--agent'))
  if (client === undefined) return null
  const state = path(optionIn(argv, '--state') ?? env.S2_STATE ?? STATE_FALLBACK)
  const [name = null] = argv
  return { client, state, name: name?.startsWith('-') === true ? null : name }
}

async function hear({ name, client, state }: Asked, context: CommandContext): Promise<void> {
  const input = await readHookInput(process.stdin, HOOK_INPUT_MAX, INPUT_WITHIN_MS, context.clock)
  const event = readHookEvent(client, name, input)
  if (event === null) return context.tell('s2: the hook was given nothing that it knows\n')
  if (!existsSync(state)) return
  const facts = factsOf(event, context.env)
  const at = context.clock.wall()
  const { text, isBlocked } = await answerHook(state, event, facts.session, at).catch((error: Error) => {
    context.tell(`s2: the hook answers nothing: ${error.message.slice(0, 200)}\n`)
    return SILENCE
  })
  if (text !== '') context.print(`${text}\n`)
  const reports = new HookReports(state)
  const report = { event: await withoutSecrets(event), facts, at, isBlocked }
  const put = async (told: HookReport): Promise<void> => {
    await orAfter(reports, () => reports.put(told, process.pid))
  }
  if (!isAnsweredFromAfar(event, context.env)) return await put(report)
  const { askAfar } = await import('./guard/ask-afar.ts')
  await askAfar({ state, report, input, put }, context)
}

/**
 * Whether a hook waits for an answer from afar. Only Claude Code at a terminal shows its dialog meanwhile: elsewhere the turn would wait
 * for a person who may not be there.
 */
function isAnsweredFromAfar({ client, name }: HookEvent, env: CommandContext['env']): boolean {
  const isShown = client === 'claude' && name === 'PermissionRequest' && env.CLAUDE_CODE_ENTRYPOINT === 'cli'
  return isShown && env.S2_GUARD === 'on'
}

/**
 * Becomes a shell that waits, beside an idle client, for the text of a wake. Its exit code 2 makes the client begin a turn. Without a
 * terminal Claude Code begins no turn, and does not end, before its hooks have: there nothing waits.
 */
async function waitForWake({ client, state }: Asked, context: CommandContext): Promise<number> {
  if (client === 'claude' && context.env.CLAUDE_CODE_ENTRYPOINT !== 'cli') return 0
  const input = await readHookInput(process.stdin, HOOK_INPUT_MAX, INPUT_WITHIN_MS, context.clock)
  const event = readHookEvent(client, null, input)
  if (event === null || event.subagent !== null || !existsSync(state)) return 0
  const { waiterCommand } = await import('#agents/wake/hook-waiter.ts')
  const bounds = { client: clientProcessAbove(client, process.ppid) }
  return await context.become(await waiterCommand(state, event, context.clock, bounds))
}

/** A daemon may be another version at the next prompt of a thread; uses of tools are too many to look at it each time. */
const TELLS_VERSION: ReadonlySet<HookEvent['kind']> = new Set(['start', 'prompt'])

function factsOf({ client, kind }: HookEvent, env: CommandContext['env']): ClientFacts {
  const found = clientProcessAbove(client, process.ppid)
  const sharesProcess = found !== null && servesTerminals(client, found.pid)
  return {
    process: found === null ? null : { ...found, namespace: pidNamespace() },
    sharesProcess,
    // A daemon has the environment of whoever started it, and not that of the terminal whose hook this is.
    pane: sharesProcess ? null : paneIn(env),
    inboxSocket: env.CLAUDE_CODE_MESSAGING_SOCKET ?? null,
    version: found !== null && TELLS_VERSION.has(kind) ? clientVersion(client, found.pid) : null,
    session: sharesProcess ? null : sessionIn(env.S2_TASK_SESSION),
  }
}

function paneIn({ TMUX: server = '', TMUX_PANE: id = '' }: CommandContext['env']): ClientFacts['pane'] {
  const [socket = ''] = server.split(',')
  return socket === '' || id === '' ? null : { socket, id }
}

/** What a client says of a dialog or a failure may hold a secret. The rules for those are loaded only where it says something. */
async function withoutSecrets(event: HookEvent): Promise<HookEvent> {
  if (event.what === null) return event
  const { redact } = await import('#fleet/redact.ts')
  return { ...event, what: redact(event.what) }
}
