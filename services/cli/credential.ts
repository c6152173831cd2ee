import { join } from 'node:path'
import type { Command } from 'commander'
import type { Conversation } from '#fleet/conversation.ts'
import { credentialPath, workerName } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { parseSession, type Side, sessionId } from '#fleet/session.ts'
import { closest, readSettings } from '#runtime/config.ts'
import { publish } from '#spool/atomic.ts'
import { publishCredential, readCredentials } from '#spool/credentials.ts'
import { duration } from './conversation.ts'
import { credentialOf, readPublished, renewTokens, serialAfter, workerFile } from './enrol.ts'
import { UsageError } from './failure.ts'
import { Publication } from './publication.ts'
import { reachAdministration } from './reach.ts'
import type { Shell } from './shell.ts'
import { commandEnv } from './state.ts'

const EXAMPLES = `
Examples:
  s2 credential rotate s2-worker-3 --remote ssh://git@host/fleet.git
        a new token for the worker, pushed to the remote; the old one counts for another 10 m
  s2 credential rotate s2-worker-3 --overlap 0s
        the old token is void at once: for one that leaked
  s2 credential rotate conv_0123456789abcdef/a
        the orchestrator's own end, kept on this host`

interface Options {
  readonly overlap: number
  readonly remote?: string
  readonly branch?: string
  readonly out?: string
  readonly json?: true
}

export function define(command: Command, shell: Shell): void {
  command.addHelpText('after', EXAMPLES)
  command
    .command('rotate <agent>')
    .description('give an agent or session a new token, and hand it out')
    .option('--overlap <duration>', 'how long the old token still counts', duration, 600_000)
    .option('--remote <git>', "git remote to push a worker's credential to (S2_GIT_REMOTE)")
    .option('--branch <name>', 'branch of it (S2_GIT_BRANCH)')
    .option('--out <folder>', "write a worker's credential file there instead of pushing it")
    .option('--json', 'print JSON')
    .action(async (agent: string, options: Options) => await rotate(shell, agent, options))
}

async function rotate(shell: Shell, agent: string, options: Options): Promise<void> {
  const settings = readSettings(commandEnv(shell), [
    'S2_STATE',
    'S2_BRIDGE_URL',
    'S2_GIT_REMOTE',
    'S2_GIT_BRANCH',
    'S2_GIT_TIMEOUT',
  ])
  await using reached = await reachAdministration(shell)
  const { conversation, side } = choose(agent, await reached.store.conversations())
  const bridgeUrl = settings.S2_BRIDGE_URL
  const session = sessionId(conversation.id, side)
  if (side === 'a') {
    const mine = (await readCredentials(settings.S2_STATE)).credentials.find((each) => each.session === session)
    const token = await reached.store.rotateToken(session, options.overlap)
    const serial = serialAfter(mine?.createdAt, shell.clock.wall())
    const enrolment = { ...conversation, tokens: { a: token, b: '' } }
    await publishCredential(settings.S2_STATE, credentialOf(enrolment, 'a', mine?.bridgeUrl ?? bridgeUrl, serial))
    return tell(shell, session, settings.S2_STATE, options)
  }
  const name = conversation.agents.b
  const number = numberOf(name)
  const remote = options.out === undefined ? (options.remote ?? settings.S2_GIT_REMOTE) : undefined
  if (remote === undefined && options.out === undefined)
    throw new UsageError(`the new credential of ${name} would go nowhere`, 'add --remote or --out')
  if (remote !== undefined && number === null)
    throw new UsageError(`${name} has no number, so no file in a remote`, 'use --out <folder>')
  await using publication =
    remote === undefined
      ? null
      : await Publication.open(
          { remote, branch: options.branch ?? settings.S2_GIT_BRANCH, timeoutMs: settings.S2_GIT_TIMEOUT },
          { clock: shell.clock, chance: shell.chance, env: shell.env },
        )
  // Read first: a remote that cannot be reached must not cost the token that is in force.
  const before = publication === null || number === null ? null : await readPublished(publication, number)
  const enrolment = await renewTokens(reached.store, conversation, options.overlap)
  const serial = serialAfter(before?.createdAt, shell.clock.wall())
  const file = workerFile(enrolment, before?.bridgeUrl ?? bridgeUrl, serial)
  if (publication !== null && number !== null) {
    await publication.publish(new Map([[credentialPath(number), file]]), `New token of ${name}`)
    return tell(shell, session, `${remote} ${credentialPath(number)}`, options)
  }
  const path = join(options.out ?? '.', `${name}-credentials.json`)
  await publish(path, file)
  tell(shell, session, path, options)
}

function tell(shell: Shell, session: string, place: string, { overlap, json }: Options): void {
  if (json === true) shell.print(`${JSON.stringify({ session, credential: place, overlapMs: overlap })}\n`)
  else shell.print(`${session} has a new token: ${place}\n`)
}

/** A session, or a worker by its name: its newest conversation. */
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
    next: near === undefined ? '`s2 conversation list` shows who there is' : `did you mean ${near}?`,
  })
}

function numberOf(agent: string): number | null {
  const number = Number(/-(\d+)$/.exec(agent)?.[1] ?? Number.NaN)
  return Number.isInteger(number) && workerName(number) === agent ? number : null
}
