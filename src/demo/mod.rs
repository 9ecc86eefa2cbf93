//! The demo: finds or fetches mongod, starts two throwaway replica sets, loads a shop, keeps writing.
