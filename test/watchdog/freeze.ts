/** The methods that only read, of the objects that a snapshot is made of: every other method is refused. */
const READERS: Readonly<Record<string, readonly string[]>> = {
  Map: ['get', 'has', 'keys', 'values', 'entries', 'forEach', String(Symbol.iterator)],
  Set: ['has', 'keys', 'values', 'entries', 'forEach', String(Symbol.iterator)],
  Roster: ['has', 'standing', 'standings', 'agentOf', 'hasIncident', 'twins', 'nameNow'],
  FlappingAgents: ['lostNow', 'recent', 'flapping', 'steadySince'],
  AgentProcessTable: ['of', 'isHindered'],
  ClientObserver: ['of', 'isKnown', 'isSettled', 'agents'],
  LeaseObserver: ['stillSince', 'heldSince', 'lapsedAt', 'isRenewedAfter', 'isStuck'],
  WorkObserver: [
    'pendingSince',
    'takeableSince',
    'untakenSince',
    'workedAt',
    'isDeadlinePassed',
    'letLieBy',
    'isIdle',
    'isBusy',
    'isWorker',
  ],
}

const frozen = new WeakMap<object, object>()

/**
 * The same value, of which nothing can be changed: plain data become frozen copies, and of every other object only what
 * reads can be used, and answers frozen values. Whatever would change one throws a TypeError.
 */
export function freezeDeeply<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  const made = frozen.get(value) ?? (isPlain(value) ? frozenData(value) : readOnly(value))
  frozen.set(value, made)
  return made as T
}

function isPlain(value: object): boolean {
  return value.constructor === Object || Array.isArray(value)
}

function frozenData(value: object): object {
  if (Array.isArray(value)) return Object.freeze(value.map((each: unknown) => freezeDeeply(each)))
  return Object.freeze(Object.fromEntries(Object.entries(value).map(([name, each]) => [name, freezeDeeply(each)])))
}

function readOnly(value: object): object {
  const refuse = (): never => {
    throw new TypeError(`a frozen ${value.constructor.name} was to be changed`)
  }
  return new Proxy(value, {
    set: refuse,
    defineProperty: refuse,
    deleteProperty: refuse,
    setPrototypeOf: refuse,
    get: (target, name) => {
      const member: unknown = Reflect.get(target, name, target)
      if (typeof member !== 'function') return freezeDeeply(member)
      if (READERS[value.constructor.name]?.includes(String(name)) !== true) return refuse
      return (...args: unknown[]) => frozenAnswer(Reflect.apply(member, target, args) as unknown)
    },
  })
}

function frozenAnswer(answer: unknown): unknown {
  return answer instanceof Iterator ? answer.map((each) => freezeDeeply(each)) : freezeDeeply(answer)
}
