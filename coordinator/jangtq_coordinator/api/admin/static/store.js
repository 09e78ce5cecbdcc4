// Conversations, kept in this browser's IndexedDB; where it refuses, as in some private windows, until the tab closes.

const NAME = "jangtq";
const TALKS = "conversations";

const waitFor = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

class Database {
  constructor(database) {
    this.database = database;
  }

  static async open() {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TALKS, { keyPath: "id" });
    return new Database(await waitFor(request));
  }

  talks(mode) {
    return this.database.transaction(TALKS, mode).objectStore(TALKS);
  }

  all = () => waitFor(this.talks("readonly").getAll());
  put = (talk) => waitFor(this.talks("readwrite").put(structuredClone(talk)));
  remove = (id) => waitFor(this.talks("readwrite").delete(id));
}

class Memory {
  kept = new Map();
  all = async () => [...this.kept.values()];
  put = async (talk) => void this.kept.set(talk.id, talk);
  remove = async (id) => void this.kept.delete(id);
}

export const openStore = () => Database.open().catch(() => new Memory());
