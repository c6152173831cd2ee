import { openMemoryStore } from '#store/memory/memory.ts'
import { contract } from './contract.ts'

contract('memory', async (parts) => {
  const store = openMemoryStore(parts)
  return { store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() }
})
