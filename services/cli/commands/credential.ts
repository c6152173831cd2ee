import { type Command, Option } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { stateFolder } from '#console/state-folder.ts'
import { type ReachedFleet, reachAdministration, reachFleet } from '#console/store-access.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { parseSession, type Side, sessionId } from '#fleet/session-id.ts'
import { bridgeAccessFor, notDelivered, openDelivery } from '#issuing/deliver-credential.ts'
import { hintAfterPush, hintWorkers } from '#issuing/hint-workers.ts'
import { credentialOf, renewTokens, serialAfter, workerFile } from '#issuing/worker-credential-file.ts'
import { formatDuration } from '#runtime/duration.ts'
import { closest } from '#runtime/read-settings.ts'
import { credentialsFolder, publishCredential } from '#spool/credentials.ts'
import { duration, gitRemote } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 credential rotate s2-worker-3 --remote ssh://git@host/fleet.git
        a new token for the worker, pushed to the remote; the old one stays valid for 10 m
  s2 credential rotate s2-worker-3 --overlap 0s
        the old token is void at once, for example because it leaked
  s2 credential rotate conv_0123456789abcdef/a
        the orchestrator's own end, kept on this host
  s2 credential hint
        all workers fetch from git at once, for example from a post-receive hook of the remote`

interface Options {
  readonly overlap: number
  readonly remote?: string
  readonly branch?: string
  readonly out?: string
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  command
    .command('rotate <agent>')
    .description('give an agent or session a new token, and deliver it')
    .addOption(
      new Option('--overlap <duration>', 'how long the old token stays valid')
        .argParser(duration)
        .default(600_000, '10m'),
    )
    .option('--remote <git>', "git remote to push a worker's credential to (S2_GIT_REMOTE)", gitRemote)
    .option('--branch <name>', 'branch of it (S2_GIT_BRANCH)')
    .option('--out <folder>', "write a worker's credential file there instead of pushing it")
    .option('--json', 'print JSON')
    .action(async (agent: string, options: Options) => await rotate(context, agent, options))
  command
    .command('hint [agents...]')
    .description('tell the named workers, or all, to fetch their credentials from git now')
    .option('--json', 'print JSON')
    .action(
      async (agents: readonly string[], options: { readonly json?: true }) => await hint(context, agents, options),
    )
}

async function rotate(context: CommandContext, agent: string, options: Options): Promise<void> {
  await using reached = await reachAdministration(context)
  const { conversation, side } = choose(agent, await reached.store.conversations())
  if (side === 'a') return await rotateOwn(context, reached, conversation, options)
  const worker = conversation.agents.b
  await using handout = await openDelivery(context, worker, options)
  if (handout === null)
    throw new UsageError(`no place is named for the new credential of ${worker}`, 'add --remote or --out')
  const own = reached.credentials.find(({ session }) => session === sessionId(conversation.id, 'a'))
  const before = handout.before ?? { bridgeUrl: null, bridgeCa: own?.bridgeCa ?? null }
  const access = await bridgeAccessFor(context, reached.credentials, before)
  const issued = await renewTokens(reached.store, conversation, options.overlap)
  const serial = serialAfter(handout.before?.createdAt, context.clock.wall())
  let place: string
  try {
    place = await handout.put(workerFile(issued, access, serial), `New token of ${worker}`)
  } catch (error) {
    const rest = `the old token stays valid for ${formatDuration(options.overlap)}: run the command again before that`
    throw notDelivered(error, rest)
  }
  if (options.out === undefined) await hintAfterPush(context, reached, worker)
  tell(context, sessionId(conversation.id, 'b'), place, options)
}

/** The orchestrator's own end: its credential never leaves this host. */
async function rotateOwn(
  context: CommandContext,
  reached: ReachedFleet,
  conversation: Conversation,
  options: Options,
): Promise<void> {
  const state = stateFolder(context)
  const session = sessionId(conversation.id, 'a')
  const mine = reached.credentials.find((each) => each.session === session)
  const access = await bridgeAccessFor(context, reached.credentials, mine)
  const token = await reached.store.rotateToken(session, options.overlap)
  const serial = serialAfter(mine?.createdAt, context.clock.wall())
  const enrolment = { ...conversation, tokens: { a: token, b: '' } }
  await publishCredential(state, credentialOf(enrolment, 'a', access, serial))
  tell(context, session, credentialsFolder(state), options)
}

function tell(context: CommandContext, session: string, place: string, { overlap, json }: Options): void {
  if (json === true) context.print(`${JSON.stringify({ session, credential: place, overlapMs: overlap })}\n`)
  else context.print(`${session} has a new token: ${place}\n`)
}

/** A session, or the newest conversation of the named worker. Throws `not_found`. */
function choose(agent: string, conversations: readonly Conversation[]): { conversation: Conversation; side: Side } {
  const named = agent.includes('/') ? parseSession(agent) : null
  const found =
    named === null
      ? conversations.findLast(({ agents }) => agents.b === agent)
      : conversations.find(({ id }) => id === named.conversation)
  if (found !== undefined) return { conversation: found, side: named?.side ?? 'b' }
  const near = closest(
    agent,
    conversations.map(({ agents }) => agents.b),
  )
  throw new S2Error('not_found', `no token was changed: there is no worker ${JSON.stringify(agent)}`, {
    next: near === undefined ? '`s2 conversation list` shows the workers' : `did you mean ${near}?`,
  })
}

/** Tells workers to fetch from git now: for a hook of the remote, and after a push by other means than s2. */
async function hint(
  context: CommandContext,
  agents: readonly string[],
  { json }: { readonly json?: true },
): Promise<void> {
  await using reached = await reachFleet(context)
  if (reached.unserved) {
    throw new S2Error('unavailable', 'no worker was notified: no bridge runs on this host', {
      next: 'start the bridge; until then each worker fetches from git every S2_GIT_POLL',
    })
  }
  const workers = new Set((await reached.store.conversations()).map(({ agents: { b } }) => b))
  const stranger = agents.find((agent) => !workers.has(agent))
  if (stranger !== undefined) {
    const near = closest(stranger, [...workers])
    throw new S2Error('not_found', `no worker was notified: there is no worker ${JSON.stringify(stranger)}`, {
      next: near === undefined ? '`s2 conversation list` shows the workers' : `did you mean ${near}?`,
    })
  }
  const hinted = agents.length === 0 ? [...workers] : agents
  await hintWorkers(reached.store, hinted)
  if (json === true) context.print(`${JSON.stringify({ hinted })}\n`)
  else
    context.print(
      hinted.length === 0 ? 'there are no workers\n' : `notified to fetch from git now: ${hinted.join(', ')}\n`,
    )
}
