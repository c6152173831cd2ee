import type { Store } from './store.ts'

/** A verb of a store, as a table in this process does it: at once. */
export type Immediate<Verb> = Verb extends (...args: infer Args) => Promise<infer Answer>
  ? (...args: Args) => Answer
  : never

/** For each verb, the tables that have it as a method with the verb's arguments and answer. */
export type VerbTables<Tables> = {
  readonly [V in keyof Store]?: {
    [T in keyof Tables]: Tables[T] extends Record<V, Immediate<Store[V]>> ? T : never
  }[keyof Tables]
}

/**
 * Verbs that one table does alone, made from their names: each calls the method of its name in its table, within `call`,
 * which says when and under which lock.
 */
export function tableVerbs<Tables, const Verbs extends VerbTables<Tables>>(
  verbs: Verbs,
  call: <T>(act: (tables: Tables) => T) => Promise<T>,
): Pick<Store, keyof Verbs & keyof Store> {
  const made = Object.entries(verbs).map(([verb, table]) => [
    verb,
    (...args: unknown[]) =>
      call((tables) => {
        const methods = tables[table as keyof Tables] as Record<string, (...args: unknown[]) => unknown>
        return methods[verb]?.(...args)
      }),
  ])
  return Object.fromEntries(made)
}
