import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit } from '#console/failure.ts'
import { indented, oneLine } from '#console/terminal-text.ts'
import { conversationOf, type SessionId, sideOf } from '#fleet/session-id.ts'
import { TAIL_MAX } from '#fleet/task.ts'
import type { HostMember } from '#member/host-member.ts'
import { ANY_SPEAKER, type ReportedTask, type Speaker, type TakenTask } from '#member/member.ts'
import { percent, session as sessionOption } from './option-parsers.ts'

interface Options {
  readonly session?: SessionId
  readonly percent?: number
  readonly note?: string
  readonly checkpoint?: string
  readonly result?: string
  readonly why?: string
  readonly json?: true
}

const TAKE_HELP = `
The same task is given again until it ends by \`s2 task done\` or \`s2 task fail\`. Exit code 69: no task waits.`

const NOTHING = 'no task waits for this host’s agent'

/** The commands by which an agent with a shell takes a task, says how far it is, and ends it. */
export function defineWorkByHand(command: Command, context: CommandContext): void {
  common(
    command.command('take [id]').description('take a task that is assigned to this host’s agent, to do it by hand'),
  )
    .addHelpText('after', TAKE_HELP)
    .action(async (id: string | undefined, options: Options) => await take(context, id ?? null, options))
  common(command.command('progress <id>').description('say how far a taken task has come'))
    .option('--percent <n>', 'how much of it is done, 0 to 100', percent)
    .option('--note <text>', 'one line for people')
    .option('--checkpoint <text>', 'what another agent would need to go on; - reads it from standard input')
    .action(async (id: string, options: Options) => await progress(context, id, options))
  common(command.command('done <id>').description('end a taken task: it is done'))
    .option('--result <text>', 'what was done, and where it lies; - reads it from standard input')
    .action(async (id: string, options: Options) => await end(context, id, 'completed', options.result ?? '', options))
  common(command.command('fail <id>').description('end a taken task that cannot be done'))
    .requiredOption('--why <text>', 'why; - reads it from standard input')
    .action(async (id: string, options: Options) => await end(context, id, 'failed', options.why ?? '', options))
}

function common(command: Command): Command {
  return command
    .option('--session <session>', 'the session to work for, where this host has several', sessionOption)
    .option('--json', 'print JSON')
}

/** Opens the member of this host, and tells at the end what it must hear, on standard error. */
async function asMember<T>(context: CommandContext, act: (member: HostMember) => Promise<T>): Promise<T> {
  const { openHostMember } = await import('./open-host-member.ts')
  await using opened = new AsyncDisposableStack()
  const member = await openHostMember(context, { session: null, without: 'host', named: () => null }, opened)
  try {
    return await act(member)
  } finally {
    for (const notice of await member.noteCall().catch(() => [])) context.tell(`s2: ${oneLine(notice)}\n`)
  }
}

function speakerOf({ session }: Options): Speaker {
  return session === undefined
    ? ANY_SPEAKER
    : { conversation: conversationOf(session), side: sideOf(session), token: null }
}

async function take(context: CommandContext, id: string | null, options: Options): Promise<void> {
  const taken = await asMember(context, (member) => member.take(speakerOf(options), id))
  const isJson = options.json === true
  if (taken !== null) return context.print(isJson ? `${JSON.stringify(taken)}\n` : inWords(taken))
  context.print(isJson ? `${JSON.stringify({ task: null, why: NOTHING })}\n` : `${NOTHING}\n`)
  throw new Exit(EXIT.unavailable)
}

function inWords({ task, renewal }: TakenTask): string {
  const { id, priority, epoch, description, checkpoint } = task
  return [
    `── task ${id} · ${priority} · epoch ${epoch} · ${renewal}`,
    indented(description),
    ...(checkpoint === undefined ? [] : ['── where its last holder was', indented(checkpoint)]),
    `── when it is done: s2 task done ${id} --result '…'; meanwhile: s2 task progress ${id} --percent N --note '…'`,
    '',
  ].join('\n')
}

async function progress(context: CommandContext, id: string, options: Options): Promise<void> {
  const said = {
    percent: options.percent ?? null,
    note: options.note ?? null,
    checkpoint: await text(context, options.checkpoint ?? ''),
  }
  say(context, await asMember(context, (member) => member.progress(speakerOf(options), id, said)), options)
}

async function end(
  context: CommandContext,
  id: string,
  state: 'completed' | 'failed',
  words: string,
  options: Options,
): Promise<void> {
  const told = (await text(context, words)) ?? ''
  say(context, await asMember(context, (member) => member.end(speakerOf(options), id, state, told)), options)
}

async function text(context: CommandContext, words: string): Promise<string | null> {
  const read = words === '-' ? (await context.input(TAIL_MAX * 8)).trimEnd() : words
  return read === '' ? null : read
}

function say(context: CommandContext, told: ReportedTask, { json }: Options): void {
  context.print(json === true ? `${JSON.stringify(told)}\n` : reportInWords(told))
}

function reportInWords({ task, state, why }: ReportedTask): string {
  if (state === 'carried') return `told: the fleet has the report on ${task}\n`
  if (state === 'noted') return `noted: s2 work tells the fleet of ${task} when what it runs for it has ended\n`
  return `waiting: the report on ${task} lies in the outbox; ${why ?? 'keepalive carries it to the bridge'}\n`
}
