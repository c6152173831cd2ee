import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { fleetAbove, messageLease, stateFolder } from '#console/state-folder.ts'
import { terseLog } from '#console/store-access.ts'
import { ago, indented, oneLine } from '#console/terminal-text.ts'
import type { StoredMessage } from '#fleet/message.ts'
import { ORCHESTRATOR, partnerOf, sideOf } from '#fleet/session-id.ts'
import { findCaller } from '#member/caller.ts'
import type { LeaderMember } from '#member/leader-member.ts'
import { ANY_SPEAKER, type CheckedMail } from '#member/member.ts'
import { watchFolder } from '#runtime/folder-watch.ts'
import { isKeepaliveThere } from '#runtime/program-presence.ts'
import { readCredentials } from '#spool/credentials.ts'
import { Inbox } from '#spool/inbox.ts'
import { type HandedMessage, InboxLeases } from '#spool/inbox-leases.ts'
import { type MessageTaker, SOMEBODY } from '#spool/message-taker.ts'
import { count, duration } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 check                 print new messages, and ack those that were printed before
  s2 check --wait 5m       wait for a new message
  s2 check --peek          print new messages, and change nothing
  s2 check --again         print the messages again that are not acked yet
  s2 check --ack           ack what was printed before and what is printed now, at once

Messages are printed first and acked by the next check. What nobody acks comes again, marked, when its reader is dead or
S2_MESSAGE_LEASE is over; after five times it is a dead letter (\`s2 message dead\`).`

interface Options {
  readonly peek?: true
  readonly again?: true
  readonly ack?: true
  readonly limit: number
  readonly wait?: number
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .option('--peek', 'print new messages and leave them new')
    .option('--again', 'print the messages that were printed and are not acked yet')
    .option('--ack', 'ack at once what is printed: there is no next check')
    .option('--limit <n>', 'at most so many messages', count, 50)
    .option('--wait <duration>', 'wait until there is a message, no longer than this', duration)
    .option('--json', 'print JSON, one message a line')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const state = stateFolder(context)
      if (await checkAsLeader(context, options)) return
      const inbox = new Inbox(state, (fault) => context.tell(`s2: ${fault}\n`))
      if (options.wait !== undefined) await untilNew(inbox, options.wait, context)
      const messages = await take(context, inbox, options)
      // Without a keepalive an empty inbox does not mean that there is no mail.
      if (messages.length === 0 && options.again !== true && !(await isKeepaliveThere(state))) {
        const above = fleetAbove(context)
        const next = above === null ? '' : `  next: ${above}\n`
        context.tell(`s2: no s2-keepalive serves ${state}: no new mail arrives until one does\n${next}`)
      }
      show(context, options, messages, await namesHere(state))
      if (options.ack === true) await ackPrinted(context, inbox, messages)
    })
}

/** On the bridge's own host the orchestrator has no inbox: its mail lies in the database. Answers false elsewhere. */
async function checkAsLeader(context: CommandContext, options: Options): Promise<boolean> {
  if ((await readCredentials(stateFolder(context))).credentials.length > 0) return false
  const { openLeaderMember } = await import('../open-host-member.ts')
  await using opened = new AsyncDisposableStack()
  const member = await openLeaderMember(context, { session: null, without: 'host', named: () => null }, opened)
  if (member === null) return false
  const messages = await untilMail(member, options, context)
  const shown = messages.map(({ again, ...message }) => (again === null ? message : { ...message, again }))
  show(context, options, shown, shown.length === 0 ? asIs : await member.names())
  if (options.ack !== true || shown.length === 0) return true
  if (await context.flush()) {
    await member.ack(
      ANY_SPEAKER,
      shown.map(({ id }) => id),
    )
  } else context.tell('s2: what is printed could not be written out, and is not acked\n')
  return true
}

async function untilMail(
  member: LeaderMember,
  { limit, peek, again, wait = 0 }: Options,
  { clock, tell }: CommandContext,
): Promise<CheckedMail['messages']> {
  if (peek === true || again === true) {
    const isWanted = ({ delivery }: StoredMessage): boolean => (delivery === 'leased') === (again === true)
    return (await member.unacked(UNACKED_MAX)).filter(isWanted).slice(0, limit).map(asFirst)
  }
  const until = clock.now() + wait
  for (;;) {
    const { messages, why } = await member.check(ANY_SPEAKER, limit)
    if (messages.length === 0 && clock.now() < until) {
      await clock.sleep(Math.min(LOOK_MS, until - clock.now()))
      continue
    }
    if (why !== null) tell(`s2: ${why}\n`)
    return messages
  }
}

const UNACKED_MAX = 1_000

function asFirst(message: StoredMessage): CheckedMail['messages'][number] {
  return { ...message, again: null }
}

/** Names the agent of a session. */
type NameOf = (session: string) => string

const asIs: NameOf = (session) => session

/** As the agents of this host call each other: by its credentials, and the other end of a worker by the word that it is written to by. */
async function namesHere(state: string): Promise<NameOf> {
  const { credentials } = await readCredentials(state)
  const own = credentials.map(({ session, agent }) => [session, agent] as const)
  const led = credentials.filter(({ session }) => sideOf(session) === 'b')
  const names = new Map<string, string>([
    ...led.map(({ session }) => [partnerOf(session), ORCHESTRATOR] as const),
    ...own,
  ])
  return (session) => names.get(session) ?? session
}

function show(context: CommandContext, { json }: Options, messages: readonly HandedMessage[], nameOf: NameOf): void {
  if (json === true) for (const message of messages) context.print(`${JSON.stringify(message)}\n`)
  else context.print(messages.length === 0 ? 'no new messages\n' : messages.map(written(context, nameOf)).join('\n'))
}

async function take(
  context: CommandContext,
  inbox: Inbox,
  { peek, again, limit }: Options,
): Promise<readonly HandedMessage[]> {
  if (peek === true) return await readAll(inbox, (await inbox.list('new')).slice(0, limit))
  const state = stateFolder(context)
  const leases = new InboxLeases(state, {
    inbox,
    leaseMs: messageLease(context),
    wall: () => context.clock.wall(),
    onFault: (fault) => context.tell(`s2: ${fault}\n`),
  })
  if (again === true) return await leases.inHand(limit)
  return await leases.take(await readerHere(state, context), limit)
}

/** The client that this command runs under; somebody where none is known. */
async function readerHere(state: string, { env }: CommandContext): Promise<MessageTaker> {
  const asking = { state, parent: process.ppid, without: 'host', place: undefined, env, named: null } as const
  const { by, process: its } = await findCaller(asking)
  return by === null ? SOMEBODY : { by: `${by.client}:${by.id}`, process: its }
}

/** Only what was printed counts as received: standard output may have gone away. */
async function ackPrinted(context: CommandContext, inbox: Inbox, messages: readonly StoredMessage[]): Promise<void> {
  if (messages.length === 0) return
  if (await context.flush()) return void (await inbox.ack(messages.map(({ id }) => id)))
  context.tell('s2: what is printed could not be written out, and is not acked: s2 check --again shows it\n')
}

async function readAll(inbox: Inbox, ids: readonly number[]): Promise<StoredMessage[]> {
  const messages: StoredMessage[] = []
  for (const id of ids) {
    const message = await inbox.read(id)
    if (message !== null) messages.push(message)
  }
  return messages
}

/** The inbox is also polled, because a folder watch is only a hint. */
const LOOK_MS = 1_000

async function untilNew(inbox: Inbox, waitMs: number, context: CommandContext): Promise<void> {
  const { clock } = context
  let nap = new AbortController()
  const heard = (): void => nap.abort()
  using _watch = watchFolder(
    inbox.folder('new'),
    { onEvents: heard, onDoubt: heard },
    { clock, log: terseLog(context) },
  )
  const until = clock.now() + waitMs
  while ((await inbox.list('new')).length === 0 && clock.now() < until) {
    nap = new AbortController()
    await clock.sleep(Math.min(LOOK_MS, until - clock.now()), nap.signal).catch(() => undefined)
  }
}

function written(context: CommandContext, nameOf: NameOf): (message: HandedMessage) => string {
  const now = context.clock.wall()
  return ({ id, from, sender, to, sentAt, action, files, text, again }) => {
    const about = action === null ? '' : ` · ${oneLine(action)}`
    const with_ = files.length === 0 ? '' : ` · files: ${files.map(oneLine).join(', ')}`
    const before = again === undefined ? '' : ` · again, for the ${ordinal(again)} time`
    return `── ${id} · ${oneLine(sender ?? nameOf(from))} → ${oneLine(nameOf(to))} · ${ago(now - sentAt)} ago${before}${about}${with_}\n${indented(text)}\n`
  }
}

function ordinal(count: number): string {
  return count === 2 ? 'second' : count === 3 ? 'third' : `${count}th`
}
