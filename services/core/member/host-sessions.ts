import type { Credential } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { type SessionId, sessionId, sideOf } from '#fleet/session-id.ts'
import { credentialsFolder, readCredentials } from '#spool/credentials.ts'
import type { Speaker } from './member.ts'

/** The session that a host's agent speaks as, by what it says and what credentials lie on the host. */
export class HostSessions {
  readonly #state: string
  /** The session that is meant where an agent names none; null: the only one there is. */
  readonly #default: SessionId | null

  constructor(state: string, standard: SessionId | null) {
    this.#state = state
    this.#default = standard
  }

  /** The credential of the session that speaks. Throws `unauthenticated`, `forbidden`, `invalid`. */
  async speaker(said: Speaker): Promise<Credential> {
    const matching = await this.all(said)
    const [only, second] = matching
    if (only === undefined) throw await this.#noneFits(said)
    if (second === undefined) return checked(only, said)
    const chosen = said.conversation === null ? matching.find(({ session }) => session === this.#default) : undefined
    if (chosen !== undefined) return checked(chosen, said)
    throw new S2Error('invalid', `this host has ${matching.length} sessions, and the call names none of them`, {
      next: `name conversation_id and session_id: ${namesOf(matching)}`,
    })
  }

  /** The same where any session of one agent will do: an orchestrator has one in each conversation that it leads. */
  async agent(said: Speaker): Promise<Credential> {
    const matching = await this.all(said)
    const newest = matching.toSorted((one, other) => other.createdAt - one.createdAt)[0]
    const isOne = newest !== undefined && matching.every(({ agent }) => agent === newest.agent)
    return isOne ? checked(newest, said) : await this.speaker(said)
  }

  /** The credentials that fit; where nothing is said and no session is the default, all of the host's. */
  async all({ conversation, side }: Speaker): Promise<Credential[]> {
    const { credentials } = await readCredentials(this.#state)
    const own = credentials.find(({ session }) => session === this.#default)
    if (conversation === null && side === null && own !== undefined) return [own]
    return credentials.filter(
      ({ session }) =>
        (conversation === null || session.startsWith(`${conversation}/`)) &&
        (side === null || sideOf(session) === side),
    )
  }

  async #noneFits({ conversation, side }: Speaker): Promise<S2Error> {
    const { credentials, faults } = await readCredentials(this.#state)
    if (credentials.length === 0) {
      const why = faults.length === 0 ? '' : `: ${faults.join('; ')}`
      return new S2Error('unauthenticated', `this host has no credential of the fleet${why}`, {
        next: `a person joins it by \`s2 worker join\`; until then ${credentialsFolder(this.#state)} holds none`,
      })
    }
    const named = conversation === null ? `session ${side}` : sessionId(conversation, side ?? 'b')
    return new S2Error('forbidden', `this host has no credential of ${named}`, {
      next: `leave conversation_id and session_id out, or name ${namesOf(credentials)}`,
    })
  }
}

/** A token that an agent names must be the one that is in force, so that a forged one is no key to another's session. */
function checked(credential: Credential, { token }: Speaker): Credential {
  if (token === null || token === credential.token) return credential
  throw new S2Error('forbidden', `the token is none of ${credential.session}`, {
    next: "leave token out: this host's credential says who you are",
  })
}

function namesOf(credentials: readonly Credential[]): string {
  const shown = credentials.slice(0, 8).map(({ session, agent, role }) => `${session} (${agent}, ${role})`)
  return `${shown.join(', ')}${credentials.length > shown.length ? ', …' : ''}`
}
