import type { CommandContext } from '#console/context.ts'
import { messageLease, stateFolder } from '#console/state-folder.ts'
import { openSessions, reachAdministration } from '#console/store-access.ts'
import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { findCaller, type WithoutClient } from '#member/caller.ts'
import { HostMember } from '#member/host-member.ts'
import { LeaderMember } from '#member/leader-member.ts'
import type { Member } from '#member/member.ts'
import type { NamedFiles } from '#member/named-files.ts'
import { pidNamespace } from '#runtime/process-life.ts'
import { processStart } from '#runtime/process-stat.ts'
import { readCredentials } from '#spool/credentials.ts'
import type { MessageTaker } from '#spool/message-taker.ts'
import type { Store } from '#store/store.ts'

export interface HostMemberOptions {
  /** The session that calls mean which name none; null: the host's only one. */
  readonly session: SessionId | null
  readonly without: WithoutClient
  /** The id of the client's session, as it names that with a call; null: as its shell does, or not at all. */
  readonly named: () => string | null
}

/**
 * The member that speaks for this host's agent: by its credentials, or for the orchestrator where it has none and the bridge is on
 * this host. What it opens is closed with `opened`.
 */
export async function openMember(
  context: CommandContext,
  options: HostMemberOptions,
  opened: AsyncDisposableStack,
): Promise<Member> {
  return (await openLeaderMember(context, options, opened)) ?? (await openHostMember(context, options, opened))
}

/** Null where this host has a credential, or is not the bridge's. */
export async function openLeaderMember(
  context: CommandContext,
  { session, without, named }: HostMemberOptions,
  opened: AsyncDisposableStack,
): Promise<LeaderMember | null> {
  const state = stateFolder(context)
  if ((await readCredentials(state)).credentials.length > 0) return null
  const reached = await reachAdministration(context).catch(() => null)
  if (reached === null) return null
  if (reached.unserved && without === 'parent') {
    await reached[Symbol.asyncDispose]()
    throw bridgeAway()
  }
  const { store } = opened.use(reached)
  const { env } = context
  return new LeaderMember({
    session,
    reader: async () =>
      (await findCaller({ state, parent: process.ppid, without, place: undefined, env, named: named() })).incarnation,
    clock: context.clock,
    store,
    files: (typed, repository) => filesHere(context, typed, repository),
  })
}

/** A server of tools lives as long as its client: it must not have the database open beside a bridge that starts meanwhile. */
function bridgeAway(): S2Error {
  return new S2Error('unavailable', 'the bridge of this host is away, and nothing else knows the orchestrator here', {
    next: 'start s2-bridge, and call again',
  })
}

/** The member that speaks by this host's credentials. What it opens is closed with `opened`. */
export async function openHostMember(
  context: CommandContext,
  { session, without, named }: HostMemberOptions,
  opened: AsyncDisposableStack,
): Promise<HostMember> {
  const state = stateFolder(context)
  const { clock, chance } = context
  const stores = new HostStores(context, state, opened)
  const callerAt = (place: string | undefined) =>
    findCaller({ state, parent: process.ppid, without, place, env: context.env, named: named() })
  return new HostMember({
    state,
    session: session ?? (await callerAt(undefined)).session,
    clock,
    chance,
    store: () => stores.sessions(),
    administration: () => stores.administration(),
    caller: callerAt,
    files: (typed, repository) => filesHere(context, typed, repository),
    taker: async () => ({ by: (await callerAt(undefined)).incarnation, process: ownProcess() }),
    messageLeaseMs: messageLease(context),
    onFault: (fault) => context.tell(`s2: ${fault}\n`),
  })
}

/** The server of tools itself, and not its client: when it ends, nobody knows whether its last answer was read. */
function ownProcess(): MessageTaker['process'] {
  const startTicks = processStart(process.pid)
  return startTicks === null ? null : { pid: process.pid, startTicks, namespace: pidNamespace() }
}

/** The ways to the fleet's store from this host, each opened once. Credentials are read again as they change. */
class HostStores {
  readonly #context: CommandContext
  readonly #state: string
  readonly #opened: AsyncDisposableStack
  #credentials: readonly Credential[] = []
  readonly #byUrl = new Map<string, Promise<Store>>()

  constructor(context: CommandContext, state: string, opened: AsyncDisposableStack) {
    this.#context = context
    this.#state = state
    this.#opened = opened
  }

  /** Throws `unauthenticated` where this host has no credential. */
  async sessions(): Promise<Store> {
    const { credentials } = await readCredentials(this.#state)
    this.#credentials = credentials.toSorted((one, other) => other.createdAt - one.createdAt)
    const [newest] = this.#credentials
    if (newest === undefined) {
      throw new S2Error('unauthenticated', 'this host has no credential of the fleet', {
        next: 'a person joins it by `s2 worker join`',
      })
    }
    const known = this.#byUrl.get(newest.bridgeUrl)
    if (known !== undefined) return await known
    const opening = openSessions(newest.bridgeUrl, () => this.#credentials, this.#context).then((store) =>
      this.#opened.use(store),
    )
    this.#byUrl.set(newest.bridgeUrl, opening)
    return await opening
  }

  async administration(): Promise<Store> {
    return this.#opened.use(await reachAdministration(this.#context)).store
  }
}

/** Git is loaded by the first call that needs it: most sessions reserve nothing. */
async function filesHere(
  context: CommandContext,
  typed: readonly string[],
  repository: string | null,
): Promise<NamedFiles> {
  const { globsHere, repositoryHere } = await import('#git/files-here.ts')
  const here = await repositoryHere(context.folder, context, repository ?? undefined)
  return { repository: here.repository, globs: globsHere(typed, here) }
}
