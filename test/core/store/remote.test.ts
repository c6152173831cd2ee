import { join } from 'node:path'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import type { Store, StoreParts } from '#store/store.ts'
import { Ground } from '../../bridge/ground.ts'
import { contract, type OpenGround } from './contract.ts'

type Behind = (parts: StoreParts, state: string) => Promise<Store>

/** Through the administration socket of a bridge. */
function administration(openStore?: Behind): OpenGround {
  return async ({ clock }) => {
    const ground = await Ground.open({}, { clock, ...(openStore === undefined ? {} : { openStore }) })
    return { store: ground.remote(ground.admin, null), [Symbol.asyncDispose]: () => ground[Symbol.asyncDispose]() }
  }
}

/** Each end with its own credential over the network, the rest through the administration socket. */
function sessions(openStore?: Behind): OpenGround {
  return async ({ clock }) => {
    const ground = await Ground.open({}, { clock, ...(openStore === undefined ? {} : { openStore }) })
    return {
      store: ground.remote(ground.admin, null),
      as: (session, token) => ground.as([{ session, token }]),
      [Symbol.asyncDispose]: () => ground[Symbol.asyncDispose](),
    }
  }
}

const sqlite: Behind = (parts, state) => openSqliteStore(join(state, 'bridge.db'), parts)

contract('a bridge over memory, as administration', administration())
contract('a bridge over memory, as sessions', sessions())
contract('a bridge over SQLite, as administration', administration(sqlite))
contract('a bridge over SQLite, as sessions', sessions(sqlite))
